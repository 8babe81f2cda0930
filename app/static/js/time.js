/** Times as people read them, in their own zone and language. */
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const exactClock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const fullDate = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });
const thisYear = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const otherYear = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' });

const DAY_MS = 86_400_000;

/** 14:05, or 2:05 PM */
export const clockTime = (ms) => clock.format(ms);

/** 14:05, or 2:05: for narrow places */
export const shortClockTime = (ms) => clock.formatToParts(ms)
  .filter((part) => part.type !== 'dayPeriod').map((part) => part.value).join('').trim();

/** 14:05:09, everywhere: for figures and prices */
export const exactTime = (ms) => exactClock.format(ms);

/** Tuesday, 3 March 2026 at 14:05:09 */
export const fullTime = (ms) => fullDate.format(ms);

/** The local day as a number that only grows, for comparing. */
export function dayOf(ms) {
  const date = new Date(ms);
  return Math.round(Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / DAY_MS);
}

/** Today, Yesterday, Tuesday, 3 March, or 3 March 2024 */
export function dayName(ms, nowMs) {
  const daysAgo = dayOf(nowMs) - dayOf(ms);
  if (daysAgo === 0) return 'Today';
  if (daysAgo === 1) return 'Yesterday';
  const sameYear = new Date(ms).getFullYear() === new Date(nowMs).getFullYear();
  return (sameYear ? thisYear : otherYear).format(ms);
}

/** 800 ms -> "1 s", 90 s -> "2 min" */
export function waitName(ms) {
  const seconds = Math.max(1, Math.ceil(ms / 1000));
  return seconds < 90 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
}
