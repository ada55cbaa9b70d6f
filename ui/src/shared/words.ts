// Sentences about alarms that wall and console share.
import type { Translate } from '../i18n/index.ts';
import { pick } from '../i18n/index.ts';
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
