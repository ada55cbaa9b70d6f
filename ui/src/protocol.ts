// The message types of docs/protocol.md, as they come over REST and websocket.

export type Lang = 'vi' | 'en';
export type Words = { readonly vi: string; readonly en: string };
export type Priority = 1 | 2 | 3 | 4;
export type AlarmState = 'NORMAL' | 'UNACKED' | 'ACKED' | 'RETURNED';
export type Condition = 'active' | 'normal' | 'unknown';
export type Role = 'viewer' | 'officer' | 'admin';

export interface Alarm {
  readonly id: string;
  readonly rule: string;
  readonly asset: string;
  readonly occurrence: number;
  readonly version: number;
  readonly state: AlarmState;
  readonly condition: Condition;
  readonly level: number;
  readonly priority: Priority;
  readonly value: number | null;
  readonly unit: string;
  readonly limit: number | null;
  readonly resolution: number | null;
  readonly raised_at: string;
  readonly changed_at: string;
  readonly event_at: string;
  readonly acked_by: string | null;
  readonly acked_by_name: string | null;
  readonly acked_at: string | null;
  readonly note: string;
  readonly detail?: string;
  readonly backlog: boolean;
  readonly confirmed: boolean;
  readonly sounding: boolean;
  readonly title: Words;
  readonly level_name: Words | null;
  readonly station_name: Words;
  readonly series_name: Words | null;
  readonly station: string | null;
  readonly series: string | null;
  readonly domain: string;
  readonly lat: number | null;
  readonly lon: number | null;
  readonly commune: string | null;
  readonly simulated: boolean;
  /** Its value is not the series' own: a rate, a window, what several stations make together. */
  readonly computed: boolean;
}

export interface Transition {
  readonly id: string;
  readonly alarm: string;
  readonly rule: string;
  readonly asset: string;
  readonly occurrence: number;
  readonly step: number;
  readonly kind: string;
  readonly before: AlarmState;
  readonly after: AlarmState;
  readonly condition: Condition;
  readonly level: number;
  readonly priority: Priority;
  readonly value: number | null;
  readonly limit: number | null;
  readonly event_at: string;
  readonly at: string;
  readonly input: number;
  readonly sounds: boolean;
  readonly backlog: boolean;
  readonly actor: string;
  readonly actor_name: string;
  readonly note: string;
  readonly detail: string;
  readonly title?: Words;
  readonly station_name?: Words;
  readonly unit?: string;
  readonly simulated: boolean;
}

export interface Limit {
  readonly level: number;
  readonly limit: number;
  readonly priority: Priority;
  readonly name: Words;
  readonly rule: string;
  readonly direction?: 'up' | 'down';
}

export interface Series {
  readonly id: string;
  readonly name: Words;
  readonly unit: string;
  readonly resolution: number | null;
  readonly datum: string | null;
  readonly group: string | null;
  readonly interval_s: number | null;
  readonly limits: readonly Limit[];
}

export interface Station {
  readonly id: string;
  readonly name: Words;
  readonly commune: string;
  readonly lat: number;
  readonly lon: number;
  readonly series: readonly Series[];
}

export interface Point {
  readonly series: string;
  readonly t: number | null;
  readonly value: number | null;
  readonly flags: number;
  readonly age_known: boolean;
  readonly state: 'normal' | 'stale' | 'never' | 'bad';
  readonly priority: 0 | Priority;
}

export interface Feed {
  readonly source: string;
  readonly kind: string;
  readonly connected: boolean;
  /** `waiting`: connected, but the monitor has no room for more just now. */
  readonly state: 'up' | 'waiting' | 'down';
  /** What waits for the monitor at the broker; null where that cannot be known. */
  readonly lag: number | null;
  readonly since: string | null;
  readonly detail: string;
  readonly rate: number;
  readonly accepted: number;
  readonly rejected: number;
  readonly late: number;
  readonly repeats: number;
  readonly shed: number;
  readonly last_error: string;
}

export interface History {
  readonly state: 'ok' | 'lagging' | 'down' | 'off';
  readonly lag_records: number;
  readonly lag_s: number;
  readonly detail: string;
}

export interface GroupKpi {
  readonly id: string;
  readonly live: number;
  readonly total: number;
  readonly stale: number;
  readonly priority: 0 | Priority;
  readonly open: number;
  readonly unacked: number;
}

/** A feed in one line, for the wall's footer. */
export interface SourceKpi {
  readonly source: string;
  readonly kind: string;
  readonly state: 'up' | 'waiting' | 'down';
  readonly lag: number | null;
}

export interface Kpi {
  readonly counts: Readonly<Record<string, { readonly open: number; readonly unacked: number }>>;
  readonly open: number;
  readonly unacked: number;
  readonly returned: number;
  readonly feeds_live: number;
  readonly feeds_total: number;
  readonly rate: number;
  readonly alarms_24h: number;
  readonly ack_mean_s: number | null;
  readonly groups: readonly GroupKpi[];
  readonly log: {
    readonly seq: number;
    readonly writable: boolean;
    readonly disk_days: number | null;
    readonly detail: string;
  };
  readonly history: History;
  readonly mqtt: 'ok' | 'down';
  readonly sources: readonly SourceKpi[];
  readonly screens: number;
  readonly officers: readonly string[];
}

export interface Instance {
  readonly name: Words;
  readonly organisation: Words;
  readonly simulated: boolean;
  readonly clock: 'system' | 'source';
  readonly version: string;
  readonly timezone: string;
  readonly groups: readonly { readonly id: string; readonly name: Words }[];
  readonly trends: readonly string[];
}

export interface Me {
  readonly user: string;
  readonly name: string;
  readonly role: Role;
}

export interface Quarantined {
  readonly number: number;
  readonly source: string;
  readonly topic: string;
  readonly reason: string;
  readonly detail: string;
  readonly received_at: string;
  readonly payload_text: string | null;
  readonly payload_base64: string;
  readonly length: number;
  readonly reinjected: boolean;
}

export interface Readings {
  readonly series: Series;
  /** Time in ms, value, flags; in event order. */
  readonly points: readonly (readonly [number, number | null, number])[];
  readonly source: 'memory' | 'history';
}

export interface AlarmDetail {
  readonly alarm: Alarm;
  readonly timeline: readonly Transition[];
  readonly guidance: Words | null;
  readonly rationalisation: {
    readonly cause: Words;
    readonly consequence: Words;
    readonly action: Words;
    readonly respond_within_s: number;
    readonly approved_by: string;
    readonly approved_on: string | null;
  } | null;
}

/** Samples around a step, as in `Readings`; `decided` is the place of the one that decided. */
export interface WhySeries {
  readonly id: string;
  readonly name: Words;
  readonly station_name: Words;
  readonly unit: string;
  readonly resolution: number | null;
  readonly limits: readonly Limit[];
  readonly points: readonly (readonly [number, number | null, number])[];
  readonly decided: number | null;
  readonly source: 'memory' | 'history' | 'log' | 'none';
}

/** Why one step of one alarm was taken. */
export interface Why {
  readonly step: Transition;
  readonly steps: readonly number[];
  readonly rule: {
    readonly id: string;
    readonly title: Words;
    readonly kind: string;
    readonly pack: string;
    readonly number: number | null;
    readonly loaded_at: string | null;
    readonly now: boolean;
    readonly source: { readonly text: string; readonly article: string; readonly mark: string } | null;
    readonly definition: Readonly<Record<string, unknown>>;
  } | null;
  readonly timer: {
    readonly level: number;
    readonly edge: number;
    readonly beyond: 'above' | 'below';
    readonly held_since: string | null;
    readonly held_s: number;
    readonly at_least: boolean;
    readonly needed_s: number;
    readonly times: number;
    readonly within_s: number;
    readonly counted: number;
  } | null;
  readonly quality: string;
  readonly tests: readonly string[];
  readonly series: WhySeries | null;
  readonly derived: { readonly id: string; readonly kind: string } | null;
  readonly inputs: readonly WhySeries[];
  readonly facts: readonly {
    readonly name: string;
    readonly title: Words;
    readonly station_name: Words;
    readonly state: 'active' | 'inactive' | 'unknown';
    readonly since: string | null;
    readonly alarm: string | null;
  }[];
  readonly neighbours: readonly {
    readonly series: string;
    readonly station_name: Words;
    readonly km: number;
    readonly value: number | null;
    readonly at: string | null;
    readonly state: string;
    readonly priority: 0 | Priority;
  }[];
  readonly firings: readonly {
    readonly alarm: string;
    readonly raised_at: string;
    readonly duration_s: number | null;
    readonly priority: Priority;
    readonly value: number | null;
    readonly acked_by_name: string;
  }[];
  readonly missing: readonly Words[];
}

/** A rule of which there is a record of what it would have done. */
export interface Tried {
  readonly rule: string;
  readonly title: Words;
  readonly since: string;
  readonly ended: '' | 'promoted' | 'removed';
}

interface Would {
  readonly asset: string;
  readonly station_name: Words;
  readonly series_name: Words | null;
  readonly level_name: Words | null;
  readonly priority: Priority;
  readonly value: number | null;
  readonly unit: string;
  readonly resolution: number | null;
  readonly event_at: string;
}

export interface Trial extends Tried {
  readonly alarms: number;
  readonly per_day: number | null;
  readonly beside: number;
  readonly alone: number;
  readonly floods_made: number;
  readonly floods_joined: number;
  readonly active_share: number | null;
  readonly days: readonly { readonly day: string; readonly alarms: readonly number[]; readonly beside: number; readonly active_s: number }[];
  readonly standing: readonly (Would & { readonly unknown: boolean })[];
  readonly would: readonly (Would & { readonly kind: string; readonly duration_s: number | null; readonly beside: boolean; readonly backlog: boolean })[];
}

/** What each websocket topic carries. */
export interface Topics {
  alarms: Alarm;
  points: Point;
  feeds: Feed;
  kpi: Kpi;
}
export type Topic = keyof Topics;

export type ServerMessage =
  | {
      type: 'welcome';
      epoch: string;
      seq: number;
      server_time_ms: number;
      version: string;
      heartbeat_s: number;
      window: number;
      simulated: boolean;
      user: Me;
    }
  | { type: 'snap'; id: number; seq: number; items: unknown[] }
  | { type: 'delta'; id: number; seq: number; prev?: number | null; upsert: unknown[]; remove: string[]; events: Transition[] }
  | { type: 'resync'; id: number }
  | { type: 'hb'; seq: number; server_time_ms: number }
  | { type: 'error'; code: string; message: Words };

export type ClientMessage =
  | { type: 'sub'; id: number; topic: Topic; filter?: Filter; since?: { epoch: string; seq: number }; max_hz?: number }
  | { type: 'unsub'; id: number }
  | { type: 'ack'; seq: number }
  | { type: 'ping' };

export interface Filter {
  domain?: string;
  station?: string;
  min_priority?: number;
}

/** Returned but unacknowledged alarms wait for somebody, too. */
export const isWaiting = (alarm: Pick<Alarm, 'state'>): boolean => alarm.state === 'UNACKED' || alarm.state === 'RETURNED';
