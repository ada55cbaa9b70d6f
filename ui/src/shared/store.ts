// What the server has told this page, by id; and nothing of how it looks.
import type { Alarm, Feed, Kpi, Point, Topic, Transition } from '../protocol.ts';

export class Store {
  readonly alarms = new Map<string, Alarm>();
  readonly points = new Map<string, Point>();
  readonly feeds = new Map<string, Feed>();
  kpi: Kpi | null = null;
  /** Whether the list of alarms is known at all: an empty one before that says nothing. */
  known = false;

  clear(): void {
    this.alarms.clear();
    this.points.clear();
    this.feeds.clear();
    this.kpi = null;
    this.known = false;
  }

  snap(topic: Topic, items: readonly unknown[]): void {
    if (topic === 'alarms') {
      this.alarms.clear();
      this.known = true;
    } else if (topic === 'points') this.points.clear();
    else if (topic === 'feeds') this.feeds.clear();
    this.#upsert(topic, items);
  }

  /** Returns the events that are news: one of an alarm's version that this page has seen already is none. */
  delta(
    topic: Topic,
    upsert: readonly unknown[],
    remove: readonly string[],
    events: readonly Transition[],
  ): readonly Transition[] {
    const fresh = events.filter((event) => event.step > (this.alarms.get(event.alarm)?.version ?? 0));
    for (const id of remove) this.alarms.delete(id);
    this.#upsert(topic, upsert);
    return fresh;
  }

  /** An alarm from another way than the websocket, such as the answer to an acknowledgement; never steps back. */
  offer(alarm: Alarm): void {
    const known = this.alarms.get(alarm.id);
    if (!known || known.version >= alarm.version) return;
    if (alarm.state === 'NORMAL') this.alarms.delete(alarm.id);
    else this.alarms.set(alarm.id, alarm);
  }

  #upsert(topic: Topic, items: readonly unknown[]): void {
    for (const item of items) {
      switch (topic) {
        case 'alarms':
          this.alarms.set((item as Alarm).id, item as Alarm);
          break;
        case 'points':
          this.points.set((item as Point).series, item as Point);
          break;
        case 'feeds':
          this.feeds.set((item as Feed).source, item as Feed);
          break;
        case 'kpi':
          this.kpi = item as Kpi;
          break;
      }
    }
  }
}
