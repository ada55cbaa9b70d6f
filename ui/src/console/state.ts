// What the console knows and what its officer is in the middle of.
import { translator, type Translate } from '../i18n/index.ts';
import type { AlarmDetail, Instance, Lang, Me, Quarantined, Transition } from '../protocol.ts';
import type { Client } from '../shared/client.ts';
import { Format } from '../shared/format.ts';
import type { Store } from '../shared/store.ts';
import { Trend } from '../shared/trend.ts';
import type { Series } from '../protocol.ts';

export type Page = 'alarms' | 'feeds' | 'quarantine' | 'journal' | 'shadow';
export interface Route {
  page: Page;
  id: string | null;
}

export interface Filter {
  query: string;
  state: 'all' | 'waiting' | 'acked' | 'unknown';
  priority: '' | '1' | '2' | '3' | '4';
  domain: string;
}

/** One alarm opened. */
export interface Opened {
  id: string;
  detail: AlarmDetail | null;
  /** The version that `detail` was read at; another in the store means: read again. */
  version: number;
  loading: boolean;
  error: 'gone' | string | null;
  trend: { series: Series; trend: Trend; source: 'memory' | 'history' } | null;
  message: { kind: 'good' | 'bad'; text: string } | null;
  busy: boolean;
  /** Of the acknowledgement under way: the same again until the server has answered, so that it counts once. Another version is another request. */
  key: { version: number; text: string } | null;
}

export interface Console {
  readonly store: Store;
  readonly client: Client;
  lang: Lang;
  t: Translate;
  f: Format;
  now: number;
  me: Me | null;
  instance: Instance | null;
  /** What the login form says; null while somebody is logged in. */
  login: { expired: boolean; busy: boolean; error: string } | null;
  starting: boolean;
  route: Route;
  filter: Filter;
  opened: Opened | null;
  notes: Map<string, string>;
  quarantine: { items: Quarantined[]; total: number } | null;
  /** Which payload is being taken up again, and what came of the last. */
  reinjecting: { busy: number | null; message: { kind: 'good' | 'bad'; text: string } | null };
  journal: { items: Transition[]; next: number | null } | null;
}

const LANG_KEY = 'ioc.lang';
const NOTES_KEY = 'ioc.console.notes';

export const savedLang = (): Lang => (localStorage.getItem(LANG_KEY) === 'en' ? 'en' : 'vi');

export function speak(state: Console, lang: Lang): void {
  localStorage.setItem(LANG_KEY, lang);
  state.lang = lang;
  state.t = translator(lang);
  state.f = new Format(lang, state.instance?.timezone ?? 'Asia/Ho_Chi_Minh');
  document.documentElement.lang = lang;
}

/** Notes half written outlive a reload and an expired session. */
export function savedNotes(): Map<string, string> {
  try {
    return new Map(JSON.parse(sessionStorage.getItem(NOTES_KEY) ?? '[]') as [string, string][]);
  } catch {
    return new Map();
  }
}

export function saveNote(state: Console, id: string, text: string): void {
  if (text) state.notes.set(id, text);
  else state.notes.delete(id);
  sessionStorage.setItem(NOTES_KEY, JSON.stringify([...state.notes]));
}

export function routeOf(hash: string): Route {
  const [page = '', id = ''] = hash.replace(/^#\/?/, '').split('/');
  const known = (['alarms', 'feeds', 'quarantine', 'journal', 'shadow'] as const).find((name) => name === page) ?? 'alarms';
  return { page: known, id: (known === 'alarms' || known === 'shadow') && id ? decodeURIComponent(id) : null };
}

export const mayAck = ({ me }: Console): boolean => me !== null && me.role !== 'viewer';
