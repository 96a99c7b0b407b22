/** What requests and replies are made of: names, sizes, numbers. */
import * as v from 'valibot';
import { REGION_NAME } from './region-name.js';

/** Bytes, or an offset in bytes. */
export const bytes = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
export const count = bytes;
export const port = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535));
export const text = (max: number) => v.pipe(v.string(), v.minLength(1), v.maxLength(max));

export const milliseconds = v.pipe(v.number(), v.minValue(0));

/** The name of a region. */
export const regionName = v.pipe(
  v.string(),
  v.regex(REGION_NAME, (issue) => JSON.stringify(issue.input)),
);
/** 128 random bits in hexadecimal: session identifiers and tickets. */
export const secret = v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/));
export const access = v.picklist(['read-only', 'read-write']);
export const fill = v.picklist(['zero', 'one']);
export const kind = v.picklist(['mapped', 'staged', 'anonymous']);
