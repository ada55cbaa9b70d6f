// Numbers, times and ages as people read them.
import type { Lang } from '../protocol.ts';

const LOCALES: Record<Lang, string> = { vi: 'vi-VN', en: 'en-GB' };

export class Format {
  readonly lang: Lang;
  readonly #zone: string;
  readonly #cache = new Map<string, Intl.NumberFormat>();
  readonly #time: Intl.DateTimeFormat;
  readonly #clock: Intl.DateTimeFormat;
  readonly #date: Intl.DateTimeFormat;
  readonly #weekday: Intl.DateTimeFormat;

  constructor(lang: Lang, timeZone: string) {
    this.lang = lang;
    this.#zone = timeZone;
    const locale = LOCALES[lang];
    const time = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZone } as const;
    this.#time = new Intl.DateTimeFormat(locale, time);
    this.#clock = new Intl.DateTimeFormat(locale, { ...time, second: '2-digit' });
    this.#date = new Intl.DateTimeFormat(locale, { day: '2-digit', month: '2-digit', year: 'numeric', timeZone });
    this.#weekday = new Intl.DateTimeFormat(locale, { weekday: 'long', timeZone });
  }

  /** The zone's difference from UTC at a moment, in minutes. */
  offsetMinutes(ms: number): number {
    const parts = new Intl.DateTimeFormat('en-US', { timeZone: this.#zone, timeZoneName: 'longOffset' }).formatToParts(ms);
    const match = /([+-])(\d\d):(\d\d)/.exec(parts.find(({ type }) => type === 'timeZoneName')?.value ?? '');
    if (!match) return 0;
    return (match[1] === '-' ? -1 : 1) * (Number(match[2]) * 60 + Number(match[3]));
  }

  number(value: number, digits: number, digitsMin = digits): string {
    const key = `${digitsMin}/${digits}`;
    let format = this.#cache.get(key);
    if (!format) {
      format = new Intl.NumberFormat(LOCALES[this.lang], {
        minimumFractionDigits: digitsMin,
        maximumFractionDigits: digits,
      });
      this.#cache.set(key, format);
    }
    // An Intl minus sign is a hyphen here; −0 is no value anybody measured.
    return format.format(Object.is(value, -0) ? 0 : value).replace('-', '−');
  }

  integer(value: number): string {
    return this.number(value, 0);
  }

  /** A measured value with as many decimals as its instrument resolves. */
  value(value: number | null, resolution: number | null): string {
    if (value === null || !Number.isFinite(value)) return '—';
    if (resolution !== null && resolution > 0) return this.number(value, decimals(resolution));
    const size = Math.abs(value);
    return this.number(value, size >= 100 ? 0 : size >= 10 ? 1 : 2, 0);
  }

  measured(value: number | null, unit: string, resolution: number | null): string {
    const text = this.value(value, resolution);
    // A percent sign and a degree stand close in Vietnamese print; other units after a space that does not break.
    return !unit || text === '—' ? text : `${text}${/^[%°]$/.test(unit) ? '' : '\u00a0'}${unit}`;
  }

  /** 10:42 */
  time(ms: number): string {
    return this.#time.format(ms);
  }

  /** 10:42:07 */
  clock(ms: number): string {
    return this.#clock.format(ms);
  }

  /** 24/11/2026 */
  date(ms: number): string {
    return this.#date.format(ms);
  }

  /** Thứ Ba, 24/11/2026 */
  longDate(ms: number): string {
    return `${this.#weekday.format(ms)}, ${this.date(ms)}`;
  }

  /** The time alone on the same day, else with its date. */
  moment(ms: number, now: number): string {
    return this.date(ms) === this.date(now) ? this.clock(ms) : `${this.time(ms)} ${this.date(ms)}`;
  }

  /** 02:14, 1:02:14 from an hour, "2 ngày 3 giờ" from a day. */
  age(ms: number): string {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    const hours = Math.floor(seconds / 3600);
    const two = (n: number) => String(n).padStart(2, '0');
    if (hours < 1) return `${two(Math.floor(seconds / 60))}:${two(seconds % 60)}`;
    if (hours < 24) return `${hours}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
    return this.lang === 'vi' ? `${Math.floor(hours / 24)} ngày ${hours % 24} giờ` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
  }

  /** A length of time in its greatest unit: "40 s", "7 ph", "3 giờ", "2 ngày". */
  span(ms: number): string {
    const seconds = Math.max(0, Math.round(ms / 1000));
    const [s, min, h, d] = this.lang === 'vi' ? (['s', 'ph', 'giờ', 'ngày'] as const) : (['s', 'min', 'h', 'd'] as const);
    if (seconds < 60) return `${seconds}\u00a0${s}`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)}\u00a0${min}`;
    if (seconds < 86_400) return `${Math.floor(seconds / 3600)}\u00a0${h}`;
    return `${Math.floor(seconds / 86_400)}\u00a0${d}`;
  }

  /** "1 ph 42 s" */
  minutes(seconds: number): string {
    const whole = Math.round(seconds);
    const min = this.lang === 'vi' ? 'ph' : 'min';
    if (whole < 60) return `${whole}\u00a0s`;
    return `${Math.floor(whole / 60)}\u00a0${min}${whole % 60 ? `\u00a0${whole % 60}\u00a0s` : ''}`;
  }

  /** How long something has gone on: to the second within the first hour, then in its greatest unit. */
  lasting(seconds: number): string {
    return seconds < 3600 ? this.minutes(seconds) : this.span(seconds * 1000);
  }
}

/** How many decimals a resolution such as 0.05 asks for. */
export function decimals(resolution: number): number {
  for (let digits = 0; digits < 6; digits++) {
    const scaled = resolution * 10 ** digits;
    if (Math.abs(scaled - Math.round(scaled)) < 1e-9 && Math.round(scaled) !== 0) return digits;
  }
  return 6;
}

/** RFC 3339 as milliseconds. */
export const ms = (stamp: string): number => Date.parse(stamp);
