/** Free pieces of a region ordered by length: a treap, so that best fit is O(log n). */

export interface FreeBlock {
  readonly offset: number;
  readonly length: number;
}

interface Node extends FreeBlock {
  readonly priority: number;
  left: Node | undefined;
  right: Node | undefined;
}

/** Shorter first, and of two equally long ones the one that comes first in the region. */
function before(left: FreeBlock, right: FreeBlock): boolean {
  return left.length === right.length ? left.offset < right.offset : left.length < right.length;
}

function join(left: Node | undefined, right: Node | undefined): Node | undefined {
  if (left === undefined) return right;
  if (right === undefined) return left;
  if (left.priority > right.priority) {
    left.right = join(left.right, right);
    return left;
  }
  right.left = join(left, right.left);
  return right;
}

/** Divides a treap into what comes before `at` and the rest. */
function split(node: Node | undefined, at: FreeBlock): [Node | undefined, Node | undefined] {
  if (node === undefined) return [undefined, undefined];
  if (before(node, at)) {
    const [left, right] = split(node.right, at);
    node.right = left;
    return [node, right];
  }
  const [left, right] = split(node.left, at);
  node.left = right;
  return [left, node];
}

/** The blocks that nobody uses; no two of them touch. */
export class FreeBlocks {
  #root: Node | undefined;
  readonly #byStart = new Map<number, FreeBlock>();
  readonly #byEnd = new Map<number, FreeBlock>();

  get count(): number {
    return this.#byStart.size;
  }

  /** The longest block. */
  get longest(): FreeBlock | undefined {
    let node = this.#root;
    while (node?.right !== undefined) node = node.right;
    return node;
  }

  /** The block that begins, or ends, at an offset. */
  startingAt(offset: number): FreeBlock | undefined {
    return this.#byStart.get(offset);
  }

  endingAt(offset: number): FreeBlock | undefined {
    return this.#byEnd.get(offset);
  }

  add({ offset, length }: FreeBlock): void {
    const node: Node = {
      offset,
      length,
      priority: Math.random(),
      left: undefined,
      right: undefined,
    };
    const [left, right] = split(this.#root, node);
    this.#root = join(join(left, node), right);
    this.#byStart.set(offset, node);
    this.#byEnd.set(offset + length, node);
  }

  remove(block: FreeBlock): void {
    const [left, rest] = split(this.#root, block);
    const [, right] = split(rest, { offset: block.offset + 1, length: block.length });
    this.#root = join(left, right);
    this.#byStart.delete(block.offset);
    this.#byEnd.delete(block.offset + block.length);
  }

  /** The shortest block after `last`, or of at least `length` when there is no last one. */
  next(length: number, last: FreeBlock | undefined): FreeBlock | undefined {
    const floor = last === undefined ? { offset: 0, length } : last;
    let best: Node | undefined;
    for (let node = this.#root; node !== undefined; ) {
      const fits = last === undefined ? !before(node, floor) : before(floor, node);
      if (fits) best = node;
      node = fits ? node.left : node.right;
    }
    return best;
  }
}
