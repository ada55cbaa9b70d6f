// The websocket client as a state machine: told what arrives and what time it is, it keeps its subscriptions whole.
// Sockets, timers, chance and the clock come from `Env`, so that tests need neither network nor patience.
import type { ClientMessage, Filter, Me, ServerMessage, Topic, Transition } from '../protocol.ts';

export interface Socket {
  send(text: string): void;
  close(): void;
}
export interface SocketEvents {
  open(): void;
  message(text: string): void;
  close(code: number): void;
}
export interface Env {
  /** Milliseconds that never go back. */
  now(): number;
  /** Milliseconds since 1970 by this machine's clock. */
  wall(): number;
  random(): number;
  connect(events: SocketEvents): Socket;
  after(ms: number, run: () => void): () => void;
  /** Run once what was given has been drawn. */
  drawn(run: () => void): void;
}

export interface Want {
  topic: Topic;
  filter?: Filter;
  max_hz?: number;
}
export interface Welcome {
  epoch: string;
  version: string;
  simulated: boolean;
  user: Me;
}
export interface Listener {
  welcome(welcome: Welcome): void;
  /** The server's state was rebuilt: what is shown is worth nothing. */
  discard(): void;
  snap(topic: Topic, items: readonly unknown[]): void;
  delta(topic: Topic, upsert: readonly unknown[], remove: readonly string[], events: readonly Transition[]): void;
  /** Anything about the connection may have changed. */
  link(): void;
  /** The session is gone; the client has stopped. */
  unauthenticated(): void;
}

export const SLOW_MS = 2_500;
export const LOST_MS = 4_000;
/** A socket that says nothing for so long is given up, whatever TCP believes. */
const DEAD_MS = 8_000;
const PING_MS = 20_000;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_LAST_MS = 15_000;
/** No session, or none shown in time. */
const CLOSE_UNAUTHENTICATED: readonly number[] = [4401, 4408];
const CLOSE_TOO_MANY = 4429;

export type Phase = 'live' | 'slow' | 'lost';

interface Subscription {
  want: Want;
  id: number;
  /** The seq up to which this topic is known; null while nothing is. */
  seq: number | null;
}

export class Client {
  readonly #env: Env;
  readonly #listener: Listener;
  readonly #subscriptions: Subscription[];
  #socket: Socket | null = null;
  /** Counts sockets: what an older one still says is ignored. */
  #generation = 0;
  #epoch: string | null = null;
  #nextId = 1;
  #attempts = 0;
  #stopped = true;
  #cancelRetry: (() => void) | null = null;
  #cancelPing: (() => void) | null = null;
  #cancelDead: (() => void) | null = null;
  #started: number;
  #heard: number | null = null;
  #heardWall: number | null = null;
  /** Server clock minus ours at the quickest frame lately, and when that came. */
  #skew: { ms: number; at: number } | null = null;
  #lag = 0;
  seq = 0;

  constructor(env: Env, wants: readonly Want[], listener: Listener) {
    this.#env = env;
    this.#listener = listener;
    this.#subscriptions = wants.map((want) => ({ want, id: 0, seq: null }));
    this.#started = env.now();
  }

  start(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    this.#started = this.#env.now();
    this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    this.#hangUp();
    this.#cancelRetry?.();
    this.#cancelRetry = null;
  }

  /** The browser says that the network is back: do not sit out the delay. */
  hurry(): void {
    if (this.#stopped || !this.#cancelRetry) return;
    this.#cancelRetry();
    this.#cancelRetry = null;
    this.#connect();
  }

  /** How the connection stands now. Silence is counted from the start until the first frame. */
  phase(): Phase {
    const silent = this.silentMs();
    return silent >= LOST_MS ? 'lost' : silent >= SLOW_MS ? 'slow' : 'live';
  }

  silentMs(): number {
    return this.#env.now() - (this.#heard ?? this.#started);
  }

  /** By this machine's clock, when the last frame came; null if none ever did. */
  heardAt(): number | null {
    return this.#heardWall;
  }

  /** How much later than the quickest frame the last one came: the queueing on the way, whatever the clocks say. */
  lagMs(): number {
    return this.#lag;
  }

  /** The server's clock, as far as known; this machine's before the first frame. */
  serverNow(): number {
    return this.#env.wall() + (this.#skew?.ms ?? 0);
  }

  #connect(): void {
    const generation = ++this.#generation;
    const mine = (run: () => void) => {
      if (generation === this.#generation && !this.#stopped) run();
    };
    this.#watch();
    this.#socket = this.#env.connect({
      open: () => mine(() => this.#ping()),
      message: (text) => mine(() => this.#message(text)),
      close: (code) => mine(() => this.#closed(code)),
    });
  }

  #hangUp(): void {
    this.#generation++;
    this.#cancelPing?.();
    this.#cancelDead?.();
    this.#cancelPing = this.#cancelDead = null;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #closed(code: number): void {
    this.#hangUp();
    if (CLOSE_UNAUTHENTICATED.includes(code)) {
      this.#stopped = true;
      this.#listener.unauthenticated();
      return;
    }
    const ceiling =
      code === CLOSE_TOO_MANY ? BACKOFF_LAST_MS : Math.min(BACKOFF_LAST_MS, BACKOFF_FIRST_MS * 2 ** this.#attempts);
    this.#attempts++;
    this.#cancelRetry = this.#env.after(this.#env.random() * ceiling, () => {
      this.#cancelRetry = null;
      this.#connect();
    });
    this.#listener.link();
  }

  #watch(): void {
    this.#cancelDead?.();
    this.#cancelDead = this.#env.after(DEAD_MS, () => this.#closed(1006));
  }

  #ping(): void {
    this.#cancelPing = this.#env.after(PING_MS, () => {
      this.#send({ type: 'ping' });
      this.#ping();
    });
  }

  #send(message: ClientMessage): void {
    this.#socket?.send(JSON.stringify(message));
  }

  #message(text: string): void {
    this.#heard = this.#env.now();
    this.#heardWall = this.#env.wall();
    this.#watch();
    const message = JSON.parse(text) as ServerMessage;
    switch (message.type) {
      case 'welcome':
        this.#time(message.server_time_ms);
        this.seq = message.seq;
        this.#attempts = 0;
        if (this.#epoch !== message.epoch) {
          if (this.#epoch !== null) this.#listener.discard();
          this.#epoch = message.epoch;
          for (const subscription of this.#subscriptions) subscription.seq = null;
        }
        this.#listener.welcome(message);
        for (const subscription of this.#subscriptions) this.#subscribe(subscription);
        break;
      case 'hb':
        this.#time(message.server_time_ms);
        this.seq = Math.max(this.seq, message.seq);
        break;
      case 'snap':
      case 'delta':
        this.seq = Math.max(this.seq, message.seq);
        this.#frame(message);
        break;
      case 'resync': {
        // The snapshot that follows replaces all; a delta before it would not fit.
        const subscription = this.#subscriptions.find(({ id }) => id === message.id);
        if (subscription) subscription.seq = null;
        break;
      }
      case 'error':
        console.warn(`server: ${message.code}: ${message.message.en}`);
        break;
    }
    this.#listener.link();
  }

  #frame(message: Extract<ServerMessage, { type: 'snap' | 'delta' }>): void {
    const subscription = this.#subscriptions.find(({ id }) => id === message.id);
    if (subscription && message.type === 'snap') {
      subscription.seq = message.seq;
      this.#listener.snap(subscription.want.topic, message.items);
    } else if (subscription && message.type === 'delta') {
      if (subscription.seq === null || (typeof message.prev === 'number' && message.prev !== subscription.seq)) {
        // Something in between never came: ask for what follows the last frame that did.
        this.#send({ type: 'unsub', id: subscription.id });
        this.#subscribe(subscription);
      } else {
        subscription.seq = message.seq;
        this.#listener.delta(subscription.want.topic, message.upsert, message.remove, message.events);
      }
    }
    // A frame that was not for us any more took a credit as well.
    const generation = this.#generation;
    this.#env.drawn(() => {
      if (generation === this.#generation) this.#send({ type: 'ack', seq: message.seq });
    });
  }

  #subscribe(subscription: Subscription): void {
    subscription.id = this.#nextId++;
    const { topic, filter, max_hz } = subscription.want;
    this.#send({
      type: 'sub',
      id: subscription.id,
      topic,
      ...(filter && { filter }),
      ...(subscription.seq !== null && this.#epoch !== null && { since: { epoch: this.#epoch, seq: subscription.seq } }),
      ...(max_hz !== undefined && { max_hz }),
    });
  }

  #time(server: number): void {
    const now = this.#env.now();
    const skew = server - this.#env.wall();
    // The greatest difference is the least delay; it is forgotten after a minute, for clocks drift and are set.
    if (!this.#skew || skew >= this.#skew.ms || now - this.#skew.at > 60_000) this.#skew = { ms: skew, at: now };
    this.#lag = this.#skew.ms - skew;
  }
}
