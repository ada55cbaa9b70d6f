// What every panel of the wall is given: what is known, the words for it, and the time.
import { translator, type Translate } from '../i18n/index.ts';
import type { Instance, Lang, Series, Station } from '../protocol.ts';
import { Client } from '../shared/client.ts';
import { Format } from '../shared/format.ts';
import type { Slots } from '../shared/order.ts';
import { Store } from '../shared/store.ts';

export type Screen = 'all' | 'alarms' | 'map' | 'trends';

export interface Settings {
  readonly scale: number;
  readonly screen: Screen;
  readonly lang: Lang;
  readonly sound: boolean;
}

/** The page's address: ?scale=1.3&screen=alarms&lang=en&sound=1 */
export function settingsOf(search: string): Settings {
  const query = new URLSearchParams(search);
  const scale = Number(query.get('scale') ?? 1);
  const screen = query.get('screen') as Screen;
  return {
    scale: Number.isFinite(scale) ? Math.min(1.8, Math.max(1, scale)) : 1,
    screen: (['all', 'alarms', 'map', 'trends'] as const).includes(screen) ? screen : 'all',
    lang: query.get('lang') === 'en' ? 'en' : 'vi',
    sound: query.get('sound') === '1',
  };
}

export interface Wall {
  readonly settings: Settings;
  readonly store: Store;
  readonly client: Client;
  readonly t: Translate;
  f: Format;
  instance: Instance | null;
  stations: readonly Station[];
  series: ReadonlyMap<string, { series: Series; station: Station }>;
  /** How many rows fit on the list. */
  rows: number;
  slots: Slots;
  /** The centre's time now, in ms: by the server's clock, also while it is away. */
  now: number;
  /** The version that the server said, for the footer. */
  version: string;
}

export function newWall(settings: Settings, client: Client, store: Store): Wall {
  return {
    settings,
    store,
    client,
    t: translator(settings.lang),
    f: new Format(settings.lang, 'Asia/Ho_Chi_Minh'),
    instance: null,
    stations: [],
    series: new Map(),
    rows: 6,
    slots: { rows: [], rest: [], restCounts: [] },
    now: Date.now(),
    version: '',
  };
}
