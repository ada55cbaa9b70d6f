import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import en from '../src/i18n/en.json' with { type: 'json' };
import { translator } from '../src/i18n/index.ts';
import vi from '../src/i18n/vi.json' with { type: 'json' };
import type { Alarm, Limit, Point, Transition } from '../src/protocol.ts';
import { fold, matches } from '../src/shared/fold.ts';
import { decimals, Format } from '../src/shared/format.ts';
import { clearest, covered } from '../src/shared/label.ts';
import { byUrgency, letter, slots, topWaiting } from '../src/shared/order.ts';
import { Store } from '../src/shared/store.ts';
import { columns, limitsShown, rangeFor, Trend, windowFor } from '../src/shared/trend.ts';
import { limitOf, readingOf, remarkOf, valueOf } from '../src/shared/words.ts';

const alarm = (id: string, fields: Partial<Alarm> = {}): Alarm =>
  ({ id, priority: 3, state: 'UNACKED', version: 1, raised_at: '2026-11-24T03:00:00.000000Z', ...fields }) as Alarm;
const ids = (alarms: readonly Alarm[]) => alarms.map(({ id }) => id).join('');

describe('format', () => {
  const f = new Format('vi', 'Asia/Ho_Chi_Minh');
  const at = Date.parse('2026-11-24T03:04:05.678901Z');

  it('writes numbers as Vietnamese do, with the decimals of the instrument', () => {
    assert.equal(f.value(4.62, 0.01), '4,62');
    assert.equal(f.value(84.2, 0.01), '84,20');
    assert.equal(f.value(1284, 1), '1.284');
    assert.equal(f.value(163.4, null), '163');
    assert.equal(f.value(-3.25, 0.5), '−3,3');
    assert.equal(f.value(null, 0.1), '—');
    assert.equal(f.measured(58.4, 'mm', 0.1), '58,4\u00a0mm');
    assert.equal(f.measured(75, '%', 1), '75%');
    assert.equal(new Format('en', 'Asia/Ho_Chi_Minh').value(1284.5, 0.1), '1,284.5');
  });

  it('writes times in the zone of the instance, dates as dd/MM/yyyy', () => {
    assert.equal(f.clock(at), '10:04:05');
    assert.equal(f.date(at), '24/11/2026');
    assert.equal(f.longDate(at), 'Thứ Ba, 24/11/2026');
    assert.equal(f.moment(at, at + 3_600_000), '10:04:05');
    assert.equal(f.moment(at, at + 86_400_000), '10:04 24/11/2026');
    assert.equal(f.offsetMinutes(at), 420);
    assert.equal(f.clock(Date.parse('2026-11-23T17:00:00Z')), '00:00:00');
  });

  it('writes ages and spans', () => {
    assert.equal(f.age(134_000), '02:14');
    assert.equal(f.age(3_734_000), '1:02:14');
    assert.equal(f.age(97_200_000), '1 ngày 3 giờ');
    assert.equal(f.age(-5), '00:00');
    assert.equal(f.span(420_000), '7\u00a0ph');
    assert.equal(f.minutes(102), '1\u00a0ph\u00a042\u00a0s');
    assert.equal(f.minutes(120), '2\u00a0ph');
    assert.equal(f.lasting(15), '15\u00a0s');
    assert.equal(f.lasting(2 * 86_400), '2\u00a0ngày');
  });

  it('knows how many decimals a resolution means', () => {
    assert.deepEqual([1, 0.1, 0.05, 0.01, 0.001, 5, 100].map(decimals), [0, 1, 2, 2, 3, 0, 0]);
  });
});

describe('search', () => {
  it('needs no diacritics, and knows that đ is a d', () => {
    assert.equal(fold('Đường Điện Biên Phủ — ĐỘ ẨM'), 'duong dien bien phu — do am');
    assert.ok(matches('muc nuoc', 'Mực nước vượt báo động'));
    assert.ok(matches('bao dong muc', 'Mực nước vượt báo động'));
    assert.ok(matches('ĐỘNG', 'bao dong'));
    assert.ok(matches('', 'anything'));
    assert.ok(!matches('mua', 'Mực nước'));
  });

  it('finds text that was typed with combining marks', () => {
    assert.ok(matches('Mực', 'Mực nước'.normalize('NFD')));
  });
});

describe('order', () => {
  const rows = [
    alarm('f', { priority: 1, state: 'ACKED' }),
    alarm('c', { priority: 2, raised_at: '2026-11-24T03:01:00Z' }),
    alarm('b', { priority: 2, raised_at: '2026-11-24T03:00:30Z' }),
    alarm('d', { priority: 3, state: 'RETURNED' }),
    alarm('a', { priority: 1 }),
    alarm('e', { priority: 4 }),
  ];

  it('puts who waits first, then priority, then the longest waiting', () => {
    assert.equal(ids([...rows].sort(byUrgency)), 'abcdef');
  });

  it('fills fixed slots and summarises the rest by priority', () => {
    const { rows: shown, rest, restCounts } = slots(rows, 3);
    assert.equal(ids(shown), 'abc');
    assert.equal(ids(rest), 'def');
    assert.deepEqual(restCounts, [[1, 1], [3, 1], [4, 1]]);
  });

  it('names rows by letters', () => {
    assert.deepEqual([0, 5, 25, 26, 52].map(letter), ['A', 'F', 'Z', 'AA', 'BA']);
  });

  it('shows in the banner what still goes on before what has returned', () => {
    const waiting = [alarm('r', { priority: 1, state: 'RETURNED' }), alarm('u', { priority: 2 }), alarm('v', { priority: 2, raised_at: '2026-11-24T04:00:00Z' })];
    assert.equal(topWaiting(waiting).top?.id, 'u');
    assert.equal(topWaiting(waiting).others, 1);
    assert.equal(topWaiting([alarm('x', { state: 'ACKED' })]).top, null);
  });
});

describe('trend', () => {
  it('never draws a line across a silence or a bad value', () => {
    const [xs, ys] = columns([[0, 1, 0], [1000, 2, 0], [5000, 3, 0], [6000, 4, 2], [7000, 5, 0]], 1);
    assert.deepEqual(xs, [0, 1, 3, 5, 6, 7]);
    assert.deepEqual(ys, [1, 2, null, 3, null, 5]);
  });

  it('keeps a line over three intervals, for a sample may be missing', () => {
    assert.deepEqual(columns([[0, 1, 0], [3000, 2, 0]], 1)[1], [1, 2]);
  });

  it('puts late samples in their place and lets a revision replace', () => {
    const trend = new Trend();
    for (const t of [1000, 3000]) trend.add([t, t, 0]);
    trend.add([2000, 7, 0]);
    trend.add([3000, 9, 0]);
    assert.deepEqual(trend.samples.map(([t, v]) => [t, v]), [[1000, 1000], [2000, 7], [3000, 9]]);
  });

  it('joins history with what came live meanwhile', () => {
    const trend = new Trend();
    trend.add([3000, 3, 0]);
    trend.load([[1000, 1, 0], [2000, 2, 0]]);
    trend.load([[1000, 1, 0], [2000, 2, 0], [3000, 3, 0]]);
    assert.equal(trend.samples.length, 3);
    trend.prune(2500);
    assert.deepEqual(trend.samples.map(([t]) => t), [2000, 3000]);
  });

  it('shows as much time as there is to see, up to six hours', () => {
    assert.equal(windowFor(null, 0), 120_000);
    assert.equal(windowFor(0, 601_000), 1_800_000);
    assert.equal(windowFor(0, 86_400_000), 21_600_000);
  });

  const limit = (value: number, direction: 'up' | 'down' = 'up') => ({ limit: value, direction }) as Limit;

  it('draws the worst limit passed and the next one', () => {
    const limits = [limit(83.5), limit(80), limit(82), limit(70, 'down')];
    assert.deepEqual(limitsShown(limits, 79, 79.5).map((l) => l.limit), [80, 70]);
    assert.deepEqual(limitsShown(limits, 79, 82.5).map((l) => l.limit), [82, 83.5, 70]);
    assert.deepEqual(limitsShown(limits, 69, 90).map((l) => l.limit), [83.5, 70]);
  });

  it('keeps a flat line in the middle, and knows when there is nothing', () => {
    const { min, max } = rangeFor([50, 50], [], 0.01);
    assert.ok(min < 50 && max > 50);
    assert.deepEqual(rangeFor([null], [limit(1)], 1).shown, []);
  });
});

describe('what an alarm is about', () => {
  const f = new Format('vi', 'Asia/Ho_Chi_Minh');
  const points = (fields: Partial<Point> = {}) =>
    new Map([['a', { series: 'a', t: 1_000_000, value: 84.2, flags: 0, age_known: true, state: 'normal', priority: 1, ...fields } as Point]]);
  const limit = alarm('l', { series: 'a', value: 83.5, unit: 'm', resolution: 0.01, level_name: { vi: 'Báo động III', en: 'Level III' }, limit: 83.5 });
  const silent = alarm('s', { series: 'a', value: 15, unit: 's', resolution: 1, level_name: null, limit: 15, condition: 'active' });

  it('is the value now while the series is alive, else that of the last step', () => {
    assert.deepEqual(readingOf(limit, points(), 0), { value: 84.2, of: 'now' });
    assert.deepEqual(readingOf(limit, points({ state: 'stale' }), 0), { value: 83.5, of: 'step' });
    assert.deepEqual(readingOf({ ...limit, state: 'NORMAL' }, points(), 0), { value: 83.5, of: 'step' });
    assert.deepEqual(readingOf(limit, new Map(), 0), { value: 83.5, of: 'step' });
    assert.deepEqual(readingOf({ ...limit, computed: true }, points(), 0), { value: 83.5, of: 'step' });
  });

  it('is how old the newest data is while a series is silent, and its limit has a unit', () => {
    assert.equal(valueOf(silent, f, points({ state: 'stale' }), 1_102_000), '1\u00a0ph\u00a042\u00a0s');
    assert.deepEqual(readingOf(silent, points({ state: 'stale', age_known: false }), 1_102_000), { value: 15, of: 'step' });
    assert.deepEqual(readingOf(silent, points({ state: 'never', t: null }), 1_102_000), { value: 15, of: 'step' });
    assert.deepEqual(readingOf({ ...silent, condition: 'normal' }, points(), 1_102_000), { value: 15, of: 'step' });
    assert.equal(limitOf(silent, f, translator('vi')), 'ngưỡng 15\u00a0s');
    assert.equal(limitOf(limit, f, translator('vi')), 'Báo động III 83,50');
  });
});

describe('label', () => {
  const box = (left: number, top: number) => ({ left, right: left + 10, top, bottom: top + 10 });

  it('is in the way of a curve along it, less of one across it, and of none beside it or in a hole', () => {
    assert.equal(covered(box(40, 45), [0, 80], [50, 50]), 11);
    assert.equal(covered(box(40, 45), [45, 45], [0, 100]), 1);
    assert.equal(covered(box(40, 70), [0, 100], [0, 100]), 0);
    assert.equal(covered(box(40, 45), [0, 30, 60, 100], [50, null, 50, 50]), 0);
    assert.equal(covered(box(40, 45), [45], [50]), 1);
  });

  it('stands in the first place that is clear, else in the clearest', () => {
    const [along, across, clear] = [box(40, 45), box(60, 80), box(40, 70)];
    const [xs, ys] = [[0, 65, 65.5], [50, 50, 150]];
    assert.equal(clearest([along, across, clear], xs, ys), clear);
    assert.equal(clearest([along, across], xs, ys), across);
    assert.equal(clearest([], xs, ys), undefined);
  });
});

describe('store', () => {
  it('replaces all by a snapshot, upserts and removes by a delta', () => {
    const store = new Store();
    store.snap('alarms', [alarm('a'), alarm('b')]);
    store.delta('alarms', [alarm('c')], ['a'], []);
    assert.equal([...store.alarms.keys()].join(''), 'bc');
    store.snap('alarms', [alarm('z')]);
    assert.equal([...store.alarms.keys()].join(''), 'z');
  });

  it('lets an event be news once', () => {
    const store = new Store();
    const event = { alarm: 'a', step: 2 } as Transition;
    store.snap('alarms', [alarm('a', { version: 1 })]);
    assert.equal(store.delta('alarms', [alarm('a', { version: 2 })], [], [event]).length, 1);
    assert.equal(store.delta('alarms', [], [], [event]).length, 0);
  });

  it('never steps back to an older version offered by REST', () => {
    const store = new Store();
    store.snap('alarms', [alarm('a', { version: 3 })]);
    store.offer(alarm('a', { version: 2, state: 'ACKED' }));
    assert.equal(store.alarms.get('a')?.state, 'UNACKED');
    store.offer(alarm('a', { version: 4, state: 'NORMAL' }));
    assert.equal(store.alarms.size, 0);
  });
});

describe('catalogues', () => {
  it('say the same things in both languages', () => {
    assert.deepEqual(Object.keys(en).sort(), Object.keys(vi).sort());
    const names = (text: string) => (text.match(/\{\w+\}/g) ?? []).sort().join();
    for (const key of Object.keys(vi) as (keyof typeof vi)[]) assert.equal(names(en[key]), names(vi[key]), key);
  });

  it('hold no sentence that nothing says', () => {
    const folder = new URL('../src/', import.meta.url).pathname;
    const sources = readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => readFileSync(folder + name, 'utf8'))
      .join();
    // Words that the server names are looked up by group.
    const said = (key: string) =>
      /^(kind|domain)\./.test(key) || sources.includes(`lookup(lang, '${key.replace(/\.[^.]+$/, '')}'`) || sources.includes(`'${key}'`) || sources.includes(`\`${key.replace(/[^.]+$/, '')}\${`);
    assert.deepEqual(Object.keys(vi).filter((key) => !said(key)), []);
  });

  it('are NFC, so that search and fonts see whole letters', () => {
    for (const text of Object.values(vi)) assert.equal(text, text.normalize('NFC'));
  });
});

describe('remarks', () => {
  const f = new Format('vi', 'Asia/Ho_Chi_Minh');
  const t = translator('vi');
  const now = Date.parse('2026-11-24T09:00:00Z');

  it('says in words what a step says besides', () => {
    assert.equal(remarkOf('doubtful: spike, gross_range', f, now, t), 'Nghi ngờ, mẫu không đạt: đột biến, khoảng giá trị');
    assert.equal(remarkOf('neighbour: disaster/bao_ha/water_level', f, now, t), 'Trạm lân cận cũng vượt ngưỡng: disaster/bao_ha/water_level');
    assert.equal(remarkOf('certain', f, now, t), 'Mẫu tốt xác nhận');
    assert.equal(remarkOf('connection refused', f, now, t), 'connection refused');
  });

  it('says when a wave is expected, in local time', () => {
    const said = remarkOf('2026-11-24T10:00Z/12:30Z', f, now, t);
    assert.match(said, /17:00/);
    assert.match(said, /19:30/);
  });
});
