/** Prices and changes as people read them, in their own language; and which of two prices is the newer one. */
const formats = [[1000, 2], [1, 2], [0.01, 4], [0, 8]].map(([from, digits]) => [
  from,
  new Intl.NumberFormat(undefined, { minimumFractionDigits: Math.min(digits, 4), maximumFractionDigits: digits }),
]);
const percent = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: 'exceptZero' });

/** 1,234.50; small prices get more digits */
export const priceName = (price) => formats.find(([from]) => price >= from)[1].format(price);

/** +0.82% */
export const changeName = (change) => `${percent.format(change).replace('-', '−')}%`;

/**
 * Ticks and points are numbered by `seq` within a `run`; a feed that begins anew begins a later run.
 * @param {{run: number, seq: number}} one @param {{run: number, seq: number}|null|undefined} other
 */
export function isNewer(one, other) {
  return !other || one.run > other.run || (one.run === other.run && one.seq > other.seq);
}

/** Whether nothing can lie between two prices, the older one first. */
export function isNext(older, newer) {
  return newer.run === older.run ? newer.seq === older.seq + 1 : newer.seq === 1;
}
