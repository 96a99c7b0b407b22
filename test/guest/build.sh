#!/usr/bin/env bash
# Builds a guest machine with a foreign RDMA stack, for test/integration/foreign-clients.test.ts: a
# Debian kernel with the software iWARP NIC of Linux (siw), rdma-core and librpma, all unmodified,
# and two small programs over them. Debian leaves siw out of its kernels, so the module is compiled
# from Debian's own kernel source.
#
# Packages are fetched by `apt-get download` and unpacked below the folder: nothing is installed,
# nobody needs to be root. What must be there: apt with its lists, dpkg-deb, g++, make, xz, cpio.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
out=$(realpath -m "${1:-../../.build/guest}")

[ "$(uname -m)" = x86_64 ] || { echo "guest: made on x86-64 only, this is $(uname -m)"; exit 1; }
for command in apt-get dpkg-deb g++ make xz cpio gzip; do
  command -v "$command" >/dev/null || { echo "guest: there is no $command here"; exit 1; }
done

# The packages that one depends on, those of the kernel only.
depends() { apt-cache depends "$1" | grep -oE 'Depends: linux-[^ ]+' | sed 's/Depends: //'; }

image=$(depends linux-image-cloud-amd64)
[ -n "$image" ] || { echo 'guest: apt knows no linux-image-cloud-amd64: apt-get update?'; exit 1; }
version=${image#linux-image-}
headers=$(depends linux-headers-cloud-amd64)
built=$({ echo "$version"; cat ./*; } | sha256sum)
if [ -e "$out/built" ] && [ "$(cat "$out/built")" = "$built" ]; then exit 0; fi

rm -rf "$out"
mkdir -p "$out"/{deb,kernel,packages}
(
  cd "$out/deb"
  # The headers may not need a compiler package of their own: the machine's own serves.
  mapfile -t kernel < <(depends "$headers" | grep -v compiler)
  apt-get download -qq "$image" "$headers" "${kernel[@]}" "$(depends linux-source)"
  for package in *.deb; do dpkg-deb -x "$package" "$out/kernel"; done
  rm ./*.deb
  apt-get download -qq busybox-static kmod iproute2 libmnl0 libelf1 libbpf1 libcap2 \
    libibverbs1 libibverbs-dev librdmacm1 librdmacm-dev ibverbs-providers libnl-3-200 \
    libnl-route-3-200 librpma0 librpma-dev
  for package in *.deb; do dpkg-deb -x "$package" "$out/packages"; done
) 2> >(grep -v 'unsandboxed as root' >&2)

# The module, against headers that lie below this folder and not in /usr/src.
sources=$out/kernel/usr/src
sed -i "s#/usr/src#$sources#" "$sources/$headers/Makefile"
tar -C "$out" -xf "$sources"/linux-source-*.tar.xz --strip-components=4 --wildcards \
  '*/drivers/infiniband/sw/siw'
make -s -C "$sources/$headers" "M=$out/siw" CONFIG_RDMA_SIW=m modules >"$out/siw.log" 2>&1 ||
  { cat "$out/siw.log"; exit 1; }

# The guest's root: programs with the libraries that they ask for, and modules with theirs.
root=$out/root
libraries=$out/packages/usr/lib/x86_64-linux-gnu
providers=usr/lib/x86_64-linux-gnu/libibverbs
modules=lib/modules/$version
mkdir -p "$root"/{bin,dev,proc,sys,"$modules/kernel","$providers",etc/libibverbs.d}
put() {
  cp "$1" "$root/bin/"
  LD_LIBRARY_PATH=$libraries:$out/packages/lib/x86_64-linux-gnu ldd "$1" | grep -oE '/[^ ]+' |
    while read -r library; do
      local into=$root/lib/x86_64-linux-gnu
      case $library in */ld-linux*) into=$root/lib64 ;; esac
      mkdir -p "$into"
      cp -Lu "$library" "$into/"
    done
}
flags=(-std=c++20 -O1 -Wall -Wextra -Werror -isystem "$out/packages/usr/include" -L "$libraries"
  "-Wl,-rpath-link,$libraries")
for client in rpma verbs; do
  libs=(-lrdmacm -libverbs)
  [ "$client" = verbs ] || libs=(-lrpma -libverbs)
  g++ "${flags[@]}" "${client}_client.cc" "${libs[@]}" -o "$out/${client}_client"
  put "$out/${client}_client"
done
cp "$(find "$out/packages" -path '*bin/busybox')" "$root/bin/busybox"
put "$(find "$out/packages" -path '*bin/rdma')"
cp "$out/packages/$providers"/libsiw-*.so "$root/$providers/"
cp "$out/packages/etc/libibverbs.d/siw.driver" "$root/etc/libibverbs.d/"

cp "$out/siw/siw.ko" "$out/kernel/$modules/kernel/"
depmod=$(find "$out/packages" -path '*bin/kmod')
ln -sf "$depmod" "$out/depmod" && ln -sf "$depmod" "$out/modprobe"
"$out/depmod" -b "$out/kernel" "$version"
for module in virtio_pci virtio_net siw rdma_ucm; do
  "$out/modprobe" -d "$out/kernel" -S "$version" --show-depends "$module" |
    sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | awk '!seen[$0]++' | while read -r path; do
  cp "$path" "$root/$modules/kernel/"
  echo "/$modules/kernel/$(basename "$path")"
done >"$root/modules"
find "$root/$modules" -name '*.xz' -exec xz -d {} +
sed -i 's/\.xz$//' "$root/modules"
strip -g "$root/$modules"/kernel/*.ko
cp init "$root/init"
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$out/initrd"
cp "$out/kernel/boot/vmlinuz-$version" "$out/vmlinuz"
rm -rf "$out"/{deb,kernel,packages,siw,root,depmod,modprobe}
echo "$built" >"$out/built"
