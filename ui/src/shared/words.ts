// Sentences about alarms that wall and console share.
import type { Translate } from '../i18n/index.ts';
import { lookup, pick } from '../i18n/index.ts';
import type { Alarm, Limit, Point } from '../protocol.ts';
import type { Format } from './format.ts';

export interface Reading {
  readonly value: number | null;
  /** What it is: the series' value now, the age of its newest data, or the value of the alarm's last step. */
  readonly of: 'now' | 'age' | 'step';
}

/** What an alarm is about as it stands now, where that is known. A limit is about the value itself; an alarm that counts
 * seconds is about the data's age, which goes on growing after its last step. */
export function readingOf(alarm: Alarm, points: ReadonlyMap<string, Point>, now: number): Reading {
  const point = alarm.series === null || alarm.state === 'NORMAL' ? undefined : points.get(alarm.series);
  if (alarm.computed) return { value: alarm.value, of: 'step' };
  if (point && alarm.level_name !== null) {
    if (point.state === 'normal' && point.value !== null) return { value: point.value, of: 'now' };
  } else if (point && alarm.unit === 's' && alarm.condition !== 'normal' && point.state !== 'normal' && point.age_known && point.t !== null) {
    return { value: Math.max(0, Math.floor((now - point.t) / 1000)), of: 'age' };
  }
  return { value: alarm.value, of: 'step' };
}

export const valueOf = (alarm: Alarm, f: Format, points: ReadonlyMap<string, Point>, now: number): string =>
  measured(readingOf(alarm, points, now).value, alarm, f);

/** Seconds are a length of time, which people read in minutes and hours. */
const measured = (value: number | null, alarm: Alarm, f: Format): string =>
  alarm.unit === 's' && value !== null ? f.lasting(value) : f.measured(value, alarm.unit, alarm.resolution);

/** "Báo động III 83,50": the level's name, with the figure unless the name has it already. */
export function limitOf(alarm: Alarm, f: Format, t: Translate): string {
  const name = pick(f.lang, alarm.level_name);
  if (alarm.limit === null) return name;
  return name ? named(name, f.value(alarm.limit, alarm.resolution), alarm.limit) : t('wall.limit', { limit: measured(alarm.limit, alarm, f) });
}

export function limitName(limit: Limit, resolution: number | null, f: Format): string {
  return named(pick(f.lang, limit.name), f.value(limit.limit, resolution), limit.limit);
}

function named(name: string, figure: string, limit: number): string {
  const digits = String(Math.trunc(limit));
  return name.replace(/[.,\s]/g, '').includes(digits) ? name : `${name} ${figure}`;
}

/** The gauge's name without what stands in brackets, where space is short. */
export const short = (name: string): string => name.replace(/\s*\([^)]*\)\s*$/, '');

export const stationOf = (alarm: Alarm, f: Format): string => pick(f.lang, alarm.station_name);

export const placeOf = (alarm: Alarm, f: Format, station = stationOf(alarm, f)): string => {
  const series = pick(f.lang, alarm.series_name);
  return series ? `${station} · ${series}` : station;
};

/** What is to be said of where an alarm comes from, if its data came late. */
export const backlogMark = (alarm: Alarm, t: Translate): string =>
  alarm.backlog ? (alarm.confirmed ? t('backlog') : `${t('backlog')} · ${t('unconfirmed')}`) : '';

const REMARK = /^(doubtful|again|uncertain|neighbour|certain|spike)(?:: (.*))?$/;
const EXPECTED = /^(\d{4}-\d\d-\d\dT\d\d:\d\dZ)\/(?:(\d{4}-\d\d-\d\dT\d\d:\d\dZ)|(\d\d:\d\dZ))$/;

/** What a step says besides, in words: the tests a sample did not pass, or when a wave is expected. */
export function remarkOf(detail: string, f: Format, now: number, t: Translate): string {
  const wave = EXPECTED.exec(detail);
  if (wave) {
    const earliest = wave[1] ?? '';
    const latest = wave[2] ?? `${earliest.slice(0, 11)}${wave[3] ?? ''}`;
    return t('remark.expected', { from: f.moment(Date.parse(earliest), now), to: f.moment(Date.parse(latest), now) });
  }
  const { lang } = f;
  const remark = REMARK.exec(detail);
  if (!remark) return detail;
  const what = lookup(lang, 'remark', remark[1] ?? '');
  const about = (remark[2] ?? '').split(', ').filter(Boolean).map((name) => lookup(lang, 'why.test', name));
  return about.length ? `${what}: ${about.join(', ')}` : what;
}
