// REST under /api/v1. Faults are values: the status and the server's own sentence.
import type { Alarm, AlarmDetail, Feed, History, Instance, Me, Quarantined, Readings, Station, Transition, Trial, Tried, Why, Words } from '../protocol.ts';

/** `status` 0: the server could not be reached. */
export class Fault extends Error {
  readonly status: number;
  readonly error: string;
  readonly words: Words | null;
  readonly body: Record<string, unknown>;

  constructor(status: number, body: Record<string, unknown> = {}) {
    super(`${status} ${String(body['error'] ?? '')}`);
    this.status = status;
    this.error = String(body['error'] ?? '');
    this.words = (body['message'] as Words | undefined) ?? null;
    this.body = body;
  }
}

const TIMEOUT_MS = 15_000;

async function call<T>(path: string, init: RequestInit = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(`/api/v1${path}`, { credentials: 'same-origin', signal: AbortSignal.timeout(TIMEOUT_MS), ...init });
  } catch {
    throw new Fault(0);
  }
  if (response.status === 204) return undefined as T;
  const body: unknown = await response.json().catch(() => ({}));
  if (!response.ok) throw new Fault(response.status, body as Record<string, unknown>);
  return body as T;
}

const post = <T>(path: string, body: unknown, headers: Record<string, string> = {}) =>
  call<T>(path, { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json', ...headers } });

const part = encodeURIComponent;

export const rest = {
  login: (user: string, password: string) => post<void>('/login', { user, password }),
  loginToken: (token: string) => post<void>('/login/token', { token }),
  logout: () => post<void>('/logout', {}),
  me: () => call<Me>('/me'),
  instance: () => call<Instance>('/instance'),
  stations: () => call<{ items: Station[] }>('/stations').then(({ items }) => items),
  map: () => call<{ communes: GeoJSON.FeatureCollection; river: GeoJSON.GeoJSON | null }>('/map'),
  alarm: (id: string) => call<AlarmDetail>(`/alarms/${part(id)}`),
  ack: (id: string, version: number, note: string, key: string) =>
    post<Alarm>(`/alarms/${part(id)}/ack`, { version, note }, { 'Idempotency-Key': key }),
  readings: (series: string, since: Date, limit: number) =>
    call<Readings>(
      `/series/${series.split('/').map(part).join('/')}/readings?since=${part(since.toISOString())}&limit=${limit}`,
    ),
  why: (id: string, step?: number) => call<Why>(`/alarms/${part(id)}/why${step === undefined ? '' : `?step=${step}`}`),
  tried: () => call<{ items: Tried[] }>('/shadow').then(({ items }) => items),
  shadow: (rule: string) => call<Trial>(`/rules/${part(rule)}/shadow`),
  promote: (rule: string) => post<unknown>(`/rules/${part(rule)}/promote`, {}),
  feeds: () => call<{ items: Feed[]; history: History }>('/feeds'),
  quarantine: (limit: number) => call<{ items: Quarantined[]; total: number }>(`/quarantine?limit=${limit}`),
  reinject: (number: number, key: string) =>
    post<{ number: number; accepted: number; rejected: number }>(`/quarantine/${number}/reinject`, {}, { 'Idempotency-Key': key }),
  journal: (limit: number, before?: number) =>
    call<{ items: Transition[]; next: number | null }>(`/journal?limit=${limit}${before === undefined ? '' : `&before=${before}`}`),
};

/** A key that is new; randomUUID exists in secure contexts only, and a wall may be opened by plain HTTP on the LAN. */
export function newKey(): string {
  if (typeof crypto.randomUUID === 'function') return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
