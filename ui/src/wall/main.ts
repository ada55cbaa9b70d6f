// The wall: reads its address, joins the stream, and draws what the server says, at most once a frame.
import { html, nothing, render } from 'lit';
import { pick, translator } from '../i18n/index.ts';
import type { Point } from '../protocol.ts';
import { Client } from '../shared/client.ts';
import { Format } from '../shared/format.ts';
import { slots } from '../shared/order.ts';
import { Fault, rest } from '../shared/rest.ts';
import { browserEnv } from '../shared/socket.ts';
import { Store } from '../shared/store.ts';
import { banner } from './banner.ts';
import { newWall, settingsOf } from './context.ts';
import { footer } from './footer.ts';
import { header } from './header.ts';
import { list } from './list.ts';
import { MapView } from './mapview.ts';
import { login, lost, Tour } from './overlays.ts';
import { Sound } from '../shared/sound.ts';
import { tiles } from './tiles.ts';
import { Trends } from './trends.ts';
import '../shared/tokens.css';
import './wall.css';

const TICK_MS = 250;
const SHIFT_MS = 90_000;
/** Where the page lies while 90 s pass, in pixels: no edge stands long enough to burn in. */
const SHIFTS = [[0, 0], [4, 2], [2, -4], [-3, -2], [-4, 3], [3, 4]] as const;
const RELOAD_HOUR = 3;
const TOKEN_KEY = 'ioc.wall.token';
const RELOADED_KEY = 'ioc.wall.reloaded';
const ROW_REM = 7.1;
const RETRY_MS = 5_000;

const settings = settingsOf(location.search);
const root = document.documentElement;
root.lang = settings.lang;
root.style.setProperty('--scale', String(settings.scale));
document.body.dataset['screen'] = settings.screen;
const t = translator(settings.lang);
const started = Date.now();

const store = new Store();
const client = new Client(
  browserEnv(() => draw()),
  [{ topic: 'alarms' }, { topic: 'kpi', max_hz: 4 }, { topic: 'points', max_hz: 4 }],
  {
    welcome: ({ version }) => {
      wall.version = version;
      reloadFor(version);
      void prepare();
    },
    discard: () => store.clear(),
    snap: (topic, items) => {
      store.snap(topic, items);
      if (topic === 'points') trends.feed(items as readonly Point[]);
    },
    delta: (topic, upsert, remove, events) => {
      const fresh = store.delta(topic, upsert, remove, events);
      if (topic === 'points') trends.feed(upsert as readonly Point[]);
      sound.hear(fresh, Date.now());
    },
    link: () => {},
    unauthenticated: () => void enter(true),
  },
);
const wall = newWall(settings, client, store);
const sound = new Sound();
const tour = new Tour();
const map = new MapView(wall, tour);
const trends = new Trends(wall);
let refused = false;
let asking = false;
let preparing = 0;

/** A kiosk's token comes in the fragment, which never leaves the browser, and goes from the address bar at once. */
function takeToken(): string | null {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token) {
    sessionStorage.setItem(TOKEN_KEY, token);
    history.replaceState(null, '', location.pathname + location.search);
  }
  return token ?? sessionStorage.getItem(TOKEN_KEY);
}

/** Get in: with the screen's token, else with the session there is, else say how to get one. */
async function enter(again = false): Promise<void> {
  asking = false;
  const token = takeToken();
  try {
    if (token) await rest.loginToken(token);
    else await rest.me();
  } catch (error) {
    const { status } = error as Fault;
    if (status === 401 || status === 403) {
      sessionStorage.removeItem(TOKEN_KEY);
      refused = token !== null;
      asking = true;
      draw();
      return;
    }
    // A server that is away is no reason to ask anybody for anything: the client keeps trying.
    if (again) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  client.start();
}

/** What changes seldom, read anew with each connection. */
async function prepare(): Promise<void> {
  const turn = ++preparing;
  try {
    const [instance, stations] = await Promise.all([rest.instance(), rest.stations()]);
    if (turn !== preparing) return;
    wall.instance = instance;
    wall.f = new Format(settings.lang, instance.timezone);
    wall.stations = stations;
    wall.series = new Map(stations.flatMap((station) => station.series.map((series) => [series.id, { series, station }])));
    document.title = `${t('wall.title')} · ${pick(settings.lang, instance.name)}`;
    trends.load();
    map.load(await rest.map());
  } catch (error) {
    if ((error as Fault).status === 401) return;
    setTimeout(() => {
      if (turn === preparing) void prepare();
    }, RETRY_MS);
  }
}

/** The server runs another build than this page came from: fetch its own, once. */
function reloadFor(version: string): void {
  const mine = /\/static\/([^/]+)\//.exec(import.meta.url)?.[1];
  if (!mine || mine === version || sessionStorage.getItem(RELOADED_KEY) === version) return;
  sessionStorage.setItem(RELOADED_KEY, version);
  location.reload();
}

/** Once a night, so that nothing grows for weeks; never while a critical alarm is open. */
function reloadAtNight(): void {
  const critical = [...store.alarms.values()].some(({ priority }) => priority === 1);
  const hour = Number(wall.f.clock(wall.now).slice(0, 2));
  if (hour === RELOAD_HOUR && Date.now() - started > 2 * 3_600_000 && client.phase() === 'live' && !critical) location.reload();
}

const rem = () => parseFloat(getComputedStyle(root).fontSize);

function draw(): void {
  if (asking) {
    render(login(wall, refused), document.body);
    return;
  }
  wall.now = client.serverNow();
  wall.slots = slots(store.alarms.values(), wall.rows);
  const gone = client.phase() === 'lost';
  const { screen } = settings;
  render(
    html`<main class="page ${gone ? 'gone' : ''}">
        ${header(wall, sound)} ${screen === 'trends' ? nothing : banner(wall)}
        ${screen === 'all' || screen === 'map' ? map.template() : nothing}
        ${screen === 'all' || screen === 'alarms' ? list(wall) : nothing}
        ${screen === 'all' || screen === 'trends' ? html`${tiles(wall)} ${trends.template()}` : nothing}
        ${footer(wall)}
      </main>
      ${lost(wall)}`,
    document.body,
  );
  const size = rem();
  if (map.draw(size)) requestAnimationFrame(draw);
  fitRows(size);
  beat();
}

/** As many rows as the list's height holds. */
function fitRows(size: number): void {
  const rows = document.querySelector('.rows');
  if (!rows) return;
  const count = Math.max(1, Math.floor((rows.clientHeight + 1) / (ROW_REM * size)));
  if (count !== wall.rows) {
    wall.rows = count;
    root.style.setProperty('--rows', String(count));
    requestAnimationFrame(draw);
  }
}

/** All shapes flash together, whenever they began. */
function beat(): void {
  for (const animation of document.getAnimations()) if (animation.startTime !== 0) animation.startTime = 0;
}

let lastShift = -1;
function tick(): void {
  draw();
  sound.tick(store.alarms.values(), Date.now());
  const shift = Math.floor(performance.now() / SHIFT_MS) % SHIFTS.length;
  if (shift !== lastShift) {
    lastShift = shift;
    const [x, y] = SHIFTS[shift]!;
    root.style.setProperty('--shift', `${x}px ${y}px`);
    reloadAtNight();
  }
}

addEventListener('resize', () => {
  trends.restyle(2.1 * rem());
  layout();
  draw();
});
addEventListener('online', () => client.hurry());
setInterval(tick, TICK_MS);
setInterval(() => trends.draw(2.1 * rem()), 1000);

/** How much room there is, in rem: a greater scale leaves less of it, and panels give way in order. */
function layout(): void {
  const width = innerWidth / rem();
  document.body.dataset['room'] = width >= 165 ? 'full' : width >= 135 ? 'less' : 'little';
}

layout();
if (settings.sound) sound.start(draw);
draw();
void enter();
