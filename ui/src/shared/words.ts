// Sentences about alarms that wall and console share.
import type { Translate } from '../i18n/index.ts';
import { pick } from '../i18n/index.ts';
import type { Alarm, Limit, Point } from '../protocol.ts';
import type { Format } from './format.ts';

/** The value now where the series is alive, else that of the alarm's last step. Only limits are about the value itself. */
export function valueOf(alarm: Alarm, f: Format, points?: ReadonlyMap<string, Point>): string {
  const point = alarm.series !== null && alarm.level_name !== null ? points?.get(alarm.series) : undefined;
  const value = point?.state === 'normal' && point.value !== null ? point.value : alarm.value;
  return f.measured(value, alarm.unit, alarm.resolution);
}

/** "Báo động III 83,50": the level's name, with the figure unless the name has it already. */
export function limitOf(alarm: Alarm, f: Format, t: Translate): string {
  const name = pick(f.lang, alarm.level_name);
  if (alarm.limit === null) return name;
  const figure = f.value(alarm.limit, alarm.resolution);
  return name ? named(name, figure, alarm.limit) : t('wall.limit', { limit: figure });
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
