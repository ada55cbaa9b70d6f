import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { arrange } from '../src/wall/arrange.ts';
import { settingsOf } from '../src/wall/context.ts';
import { still } from '../src/shared/still.ts';

describe('a list that holds still', () => {
  it('follows freely while nobody is at it', () => {
    assert.deepEqual(still(['a'], ['b', 'a'], false), { order: ['b', 'a'], fresh: 0, moved: false });
  });

  it('keeps every row where it is and counts the new ones', () => {
    assert.deepEqual(still(['a', 'b'], ['n', 'a', 'm', 'b'], true), { order: ['a', 'b'], fresh: 2, moved: false });
  });

  it('keeps the row of an alarm that has closed, and says that the list has moved', () => {
    assert.deepEqual(still(['a', 'b'], ['b'], true), { order: ['a', 'b'], fresh: 0, moved: true });
    assert.equal(still(['a', 'b'], ['b', 'a'], true).moved, true);
  });
});

describe('shapes on the map', () => {
  const bounds = { left: 0, top: 0, right: 1000, bottom: 1000 };
  const place = (x: number, y: number, label = 0) => ({ x, y, size: 46, label });

  it('leave the place to the more urgent and step aside without overlap', () => {
    const placed = arrange([place(500, 500), place(500, 500), place(505, 500)], bounds, 5);
    assert.deepEqual([placed[0]!.x, placed[0]!.y], [500, 500]);
    for (const [i, a] of placed.entries()) {
      for (const b of placed.slice(i + 1)) assert.ok(Math.max(Math.abs(a.x - b.x), Math.abs(a.y - b.y)) >= 46);
    }
    assert.deepEqual(placed[1]!.from, { x: 500, y: 500 });
  });

  it('stay within the map, with the figure on the side that has room', () => {
    const [placed] = arrange([place(960, 500, 100)], bounds, 5);
    assert.equal(placed!.text?.anchor, 'end');
    assert.ok(arrange([place(0, 0)], bounds, 5)[0]!.x >= 23);
  });
});

describe('the address of the wall', () => {
  it('bounds the scale and knows its screens', () => {
    assert.deepEqual(settingsOf('?scale=9&screen=map&lang=en&sound=1'), { scale: 1.8, screen: 'map', lang: 'en', sound: true });
    assert.deepEqual(settingsOf('?scale=x&screen=y'), { scale: 1, screen: 'all', lang: 'vi', sound: false });
  });
});
