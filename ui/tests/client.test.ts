import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Client, type Env, type SocketEvents } from '../src/shared/client.ts';
import type { Topic, Transition } from '../src/protocol.ts';

/** Time that only moves when told to, and sockets that the test holds at the other end. */
class World implements Env {
  time = 0;
  chance = 1;
  clock = 1_000_000;
  sockets: { events: SocketEvents; sent: any[]; open: boolean }[] = [];
  #timers: { at: number; run: () => void }[] = [];
  now = () => this.time;
  wall = () => this.clock + this.time;
  random = () => this.chance;
  drawn = (run: () => void) => run();
  connect(events: SocketEvents) {
    const socket = { events, sent: [] as any[], open: true };
    this.sockets.push(socket);
    return { send: (text: string) => void socket.sent.push(JSON.parse(text)), close: () => void (socket.open = false) };
  }
  after(ms: number, run: () => void) {
    const timer = { at: this.time + ms, run };
    this.#timers.push(timer);
    return () => void (this.#timers = this.#timers.filter((t) => t !== timer));
  }
  pass(ms: number) {
    const end = this.time + ms;
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.time = next.at;
      this.#timers = this.#timers.filter((t) => t !== next);
      next.run();
    }
    this.time = end;
  }
  get socket() {
    return this.sockets.at(-1)!;
  }
  say(message: object) {
    this.socket.events.message(JSON.stringify(message));
  }
  welcome(epoch = 'e1', seq = 10) {
    this.socket.events.open();
    this.say({ type: 'welcome', epoch, seq, server_time_ms: this.wall(), version: '0.1.0', heartbeat_s: 1, window: 2, simulated: true, user: {} });
  }
  beat() {
    this.say({ type: 'hb', seq: 0, server_time_ms: this.wall() });
  }
}

describe('protocol client', () => {
  let world: World;
  let client: Client;
  let heard: [string, ...unknown[]][];
  const subs = () => world.socket.sent.filter(({ type }) => type === 'sub');
  const acks = () => world.socket.sent.filter(({ type }) => type === 'ack').map(({ seq }) => seq);

  beforeEach(() => {
    world = new World();
    heard = [];
    client = new Client(world, [{ topic: 'alarms', max_hz: 4 }], {
      welcome: ({ epoch }) => heard.push(['welcome', epoch]),
      discard: () => heard.push(['discard']),
      snap: (topic: Topic, items) => heard.push(['snap', topic, items]),
      delta: (topic: Topic, upsert, remove, _events: readonly Transition[]) => heard.push(['delta', topic, upsert, remove]),
      link: () => {},
      unauthenticated: () => heard.push(['unauthenticated']),
    });
    client.start();
  });

  it('subscribes after the welcome and acknowledges every frame it has drawn', () => {
    world.welcome();
    assert.deepEqual(subs(), [{ type: 'sub', id: 1, topic: 'alarms', max_hz: 4 }]);
    world.say({ type: 'snap', id: 1, seq: 10, items: ['a'] });
    world.say({ type: 'delta', id: 1, seq: 12, prev: 10, upsert: ['b'], remove: ['x'], events: [] });
    assert.deepEqual(acks(), [10, 12]);
    assert.deepEqual(heard, [['welcome', 'e1'], ['snap', 'alarms', ['a']], ['delta', 'alarms', ['b'], ['x']]]);
  });

  it('asks for what is missing when a frame does not follow the one before', () => {
    world.welcome();
    world.say({ type: 'snap', id: 1, seq: 10, items: [] });
    world.say({ type: 'delta', id: 1, seq: 15, prev: 12, upsert: ['lost'], remove: [], events: [] });
    assert.ok(!heard.some(([what]) => what === 'delta'));
    assert.deepEqual(world.socket.sent.filter(({ type }) => type === 'unsub'), [{ type: 'unsub', id: 1 }]);
    assert.deepEqual(subs()[1], { type: 'sub', id: 2, topic: 'alarms', since: { epoch: 'e1', seq: 10 }, max_hz: 4 });
    world.say({ type: 'delta', id: 2, seq: 15, prev: 10, upsert: ['c'], remove: [], events: [] });
    assert.deepEqual(heard.at(-1), ['delta', 'alarms', ['c'], []]);
  });

  it('ignores frames of a subscription it has given up, yet returns their credit', () => {
    world.welcome();
    world.say({ type: 'snap', id: 1, seq: 10, items: [] });
    world.say({ type: 'delta', id: 1, seq: 15, prev: 12, upsert: [], remove: [], events: [] });
    world.say({ type: 'delta', id: 1, seq: 16, prev: 15, upsert: ['old'], remove: [], events: [] });
    assert.deepEqual(acks(), [10, 15, 16]);
    assert.ok(!heard.some(([what]) => what === 'delta'));
  });

  it('takes the snapshot that follows a resync', () => {
    world.welcome();
    world.say({ type: 'snap', id: 1, seq: 10, items: [] });
    world.say({ type: 'resync', id: 1 });
    world.say({ type: 'snap', id: 1, seq: 99, items: ['all'] });
    world.say({ type: 'delta', id: 1, seq: 100, prev: 99, upsert: ['d'], remove: [], events: [] });
    assert.deepEqual(heard.slice(2), [['snap', 'alarms', ['all']], ['delta', 'alarms', ['d'], []]]);
  });

  it('resumes where it stopped after a reconnection within the same epoch', () => {
    world.welcome();
    world.say({ type: 'snap', id: 1, seq: 10, items: [] });
    world.socket.events.close(1006);
    world.pass(500);
    assert.equal(world.sockets.length, 2);
    world.welcome('e1', 20);
    assert.deepEqual(subs()[0].since, { epoch: 'e1', seq: 10 });
    world.say({ type: 'delta', id: subs()[0].id, seq: 20, prev: 10, upsert: ['missed'], remove: [], events: [] });
    assert.deepEqual(heard.at(-1), ['delta', 'alarms', ['missed'], []]);
    assert.ok(!heard.some(([what]) => what === 'discard'));
  });

  it('discards everything when the epoch is a new one', () => {
    world.welcome();
    world.say({ type: 'snap', id: 1, seq: 10, items: [] });
    world.socket.events.close(1012);
    world.pass(500);
    world.welcome('e2', 3);
    assert.deepEqual(heard.slice(-2), [['discard'], ['welcome', 'e2']]);
    assert.equal(subs()[0].since, undefined);
  });

  it('waits longer after each failure, up to 15 s, with full jitter', () => {
    const waits: number[] = [];
    for (let i = 0; i < 8; i++) {
      const before = world.time;
      const count = world.sockets.length;
      world.socket.events.close(1006);
      while (world.sockets.length === count) world.pass(1);
      waits.push(world.time - before);
    }
    assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
    world.chance = 0.1;
    const before = world.time;
    const count = world.sockets.length;
    world.socket.events.close(1006);
    while (world.sockets.length === count) world.pass(1);
    assert.equal(world.time - before, 1500);
  });

  it('tries at once when the browser says it is online', () => {
    world.socket.events.close(1006);
    assert.equal(world.sockets.length, 1);
    client.hurry();
    assert.equal(world.sockets.length, 2);
    client.hurry();
    assert.equal(world.sockets.length, 2);
    world.pass(20);
    assert.equal(world.sockets.length, 2);
  });

  it('is slow after 2.5 s of silence and lost after 4 s, whatever the socket believes', () => {
    world.welcome();
    world.pass(2499);
    assert.equal(client.phase(), 'live');
    world.pass(1);
    assert.equal(client.phase(), 'slow');
    world.pass(1500);
    assert.equal(client.phase(), 'lost');
    assert.equal(client.silentMs(), 4000);
    world.beat();
    assert.equal(client.phase(), 'live');
  });

  it('gives up a socket that stays open and says nothing', () => {
    world.welcome();
    world.pass(8000);
    assert.equal(world.socket.open, false);
    world.pass(500);
    assert.equal(world.sockets.length, 2);
    world.sockets[0]!.events.message('{"type":"hb","seq":1,"server_time_ms":0}');
    assert.equal(client.phase(), 'lost');
  });

  it('stops and says so when the session is gone', () => {
    world.welcome();
    world.socket.events.close(4401);
    world.pass(60_000);
    assert.equal(world.sockets.length, 1);
    assert.deepEqual(heard.at(-1), ['unauthenticated']);
  });

  it('pings each 20 s so that the server knows it lives', () => {
    world.welcome();
    for (let i = 0; i < 41; i++) {
      world.pass(1000);
      world.beat();
    }
    assert.equal(world.socket.sent.filter(({ type }) => type === 'ping').length, 2);
  });

  it('tells the lag from the quickest frame, so that a wrong clock does not matter', () => {
    world.welcome();
    world.clock += 3_600_000;
    world.say({ type: 'hb', seq: 1, server_time_ms: world.wall() - 3_600_000 + 5 });
    world.pass(61_000);
    world.say({ type: 'hb', seq: 1, server_time_ms: world.wall() - 3_600_000 });
    world.say({ type: 'hb', seq: 1, server_time_ms: world.wall() - 3_600_000 - 400 });
    assert.equal(client.lagMs(), 400);
    assert.equal(client.serverNow(), world.wall() - 3_600_000);
  });
});
