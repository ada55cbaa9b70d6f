// The duty console: joins the stream, follows the address, and gives keys their meaning.
import { html, nothing, render, type TemplateResult } from 'lit';
import { pick, translator } from '../i18n/index.ts';
import { Client } from '../shared/client.ts';
import { Format } from '../shared/format.ts';
import { Fault, newKey, rest } from '../shared/rest.ts';
import { browserEnv } from '../shared/socket.ts';
import { Sound } from '../shared/sound.ts';
import { Store } from '../shared/store.ts';
import { Detail } from './detail.ts';
import { AlarmList } from './list.ts';
import { login } from './login.ts';
import { Shadow } from './shadow.ts';
import { routeOf, savedLang, savedNotes, speak, type Console, type Page } from './state.ts';
import { feeds, journal, quarantine } from './tables.ts';
import '../shared/tokens.css';
import './console.css';

const TICK_MS = 500;
const QUARANTINE_MS = 10_000;
const PAGE_SIZE = 100;
const PAGES: readonly Page[] = ['alarms', 'feeds', 'quarantine', 'journal', 'shadow'];

const store = new Store();
const client = new Client(
  browserEnv(() => draw()),
  [{ topic: 'alarms', max_hz: 4 }, { topic: 'points', max_hz: 1 }, { topic: 'feeds', max_hz: 1 }, { topic: 'kpi', max_hz: 1 }],
  {
    welcome: ({ user }) => {
      state.me = user;
      if (!state.instance) void prepare();
    },
    discard: () => store.clear(),
    snap: (topic, items) => store.snap(topic, items),
    delta: (topic, upsert, remove, events) => sound.hear(store.delta(topic, upsert, remove, events), Date.now()),
    link: () => {},
    unauthenticated: () => expire(),
  },
);
const lang = savedLang();
const state: Console = {
  store,
  client,
  lang,
  t: translator(lang),
  f: new Format(lang, 'Asia/Ho_Chi_Minh'),
  now: Date.now(),
  me: null,
  instance: null,
  login: null,
  starting: true,
  route: routeOf(location.hash),
  filter: { query: '', state: 'all', priority: '', domain: '' },
  opened: null,
  notes: savedNotes(),
  quarantine: null,
  reinjecting: { busy: null, message: null },
  journal: null,
};
const sound = new Sound();
const list = new AlarmList(state, () => draw());
const detail = new Detail(state, () => draw(), () => expire());
const shadow = new Shadow(state, () => draw(), () => expire());
let helping = false;
let quarantineAt = 0;

/** The session is gone. What was typed stays, and so does the page behind the form. */
function expire(): void {
  client.stop();
  state.login ??= { expired: state.me !== null, busy: false, error: '' };
  draw();
}

async function begin(): Promise<void> {
  try {
    state.me = await rest.me();
    state.starting = false;
    client.start();
  } catch (error) {
    state.starting = false;
    if ((error as Fault).status === 401) expire();
    else client.start();
  }
  draw();
}

async function prepare(): Promise<void> {
  try {
    state.instance = await rest.instance();
    speak(state, state.lang);
  } catch {
    // The next welcome asks again.
  }
  draw();
}

async function enter(user: string, password: string): Promise<void> {
  const form = (state.login ??= { expired: false, busy: false, error: '' });
  if (form.busy) return;
  form.busy = true;
  form.error = '';
  draw();
  try {
    await rest.login(user, password);
    // Somebody else's alarms to see may be others: nothing of the last session is kept but the notes.
    if (state.me && state.me.user !== user) store.clear();
    state.login = null;
    if (state.opened) state.opened.error = null;
    client.start();
    state.me = await rest.me();
  } catch (error) {
    const { status, words } = error as Fault;
    form.error = status === 401 ? state.t('login.wrong') : status === 429 ? state.t('login.many') : status === 0 ? state.t('login.offline') : pick(state.lang, words);
  }
  form.busy = false;
  draw();
}

async function leave(): Promise<void> {
  client.stop();
  await rest.logout().catch(() => undefined);
  store.clear();
  state.me = null;
  state.opened = null;
  state.login = { expired: false, busy: false, error: '' };
  draw();
}

function language(): void {
  speak(state, state.lang === 'vi' ? 'en' : 'vi');
  draw();
}

async function loadQuarantine(): Promise<void> {
  quarantineAt = state.now;
  try {
    state.quarantine = await rest.quarantine(PAGE_SIZE);
  } catch (error) {
    if ((error as Fault).status === 401) expire();
  }
  draw();
}

async function reinject(number: number): Promise<void> {
  const { reinjecting } = state;
  if (reinjecting.busy !== null) return;
  reinjecting.busy = number;
  reinjecting.message = null;
  draw();
  try {
    const { accepted, rejected } = await rest.reinject(number, newKey());
    const text = state.t('quarantine.reinject.done', { n: number, accepted: state.f.integer(accepted), rejected: state.f.integer(rejected) });
    reinjecting.message = { kind: rejected === 0 ? 'good' : 'bad', text };
  } catch (error) {
    const { status, words } = error as Fault;
    if (status === 401) expire();
    else reinjecting.message = { kind: 'bad', text: status === 0 ? state.t('login.offline') : pick(state.lang, words) };
  }
  reinjecting.busy = null;
  await loadQuarantine();
}

async function loadJournal(before?: number): Promise<void> {
  try {
    const page = await rest.journal(PAGE_SIZE, before);
    state.journal = before !== undefined && state.journal ? { items: [...state.journal.items, ...page.items], next: page.next } : page;
  } catch (error) {
    if ((error as Fault).status === 401) expire();
  }
  draw();
}

function follow(): void {
  state.route = routeOf(location.hash);
  detail.open(state.route.page === 'alarms' ? state.route.id : null);
  if (state.route.page === 'journal') void loadJournal();
  if (state.route.page === 'quarantine') void loadQuarantine();
  draw();
  if (state.route.id) document.querySelector('.row[aria-current="true"]')?.scrollIntoView({ block: 'nearest' });
}

function draw(): void {
  state.now = client.serverNow();
  document.title = `${state.t('console.title')}${state.instance ? ` · ${pick(state.lang, state.instance.name)}` : ''}`;
  if (state.login) {
    render(login(state, (user, password) => void enter(user, password), language), document.body);
    return;
  }
  if (state.starting) return;
  detail.sync();
  shadow.follow(state.route.id);
  render(page(), document.body);
  detail.draw();
}

function page(): TemplateResult {
  const { route } = state;
  const phase = client.phase();
  return html`${bar()}
    ${phase === 'lost' ? html`<p class="cut" role="alert" data-testid="lost">${gone()}</p>` : nothing}
    <main id="content" tabindex="-1" class="body ${route.page} ${route.id ? 'one' : ''} ${phase === 'lost' ? 'gone' : ''}">
      ${route.page === 'alarms'
        ? html`${list.template()} ${detail.template()}`
        : route.page === 'feeds'
          ? feeds(state)
          : route.page === 'quarantine'
            ? quarantine(state, (number) => void reinject(number))
            : route.page === 'shadow'
              ? shadow.template()
              : journal(state, () => void loadJournal(state.journal?.next ?? undefined), () => void loadJournal())}
    </main>
    ${helping ? help() : nothing}`;
}

const gone = (): string => {
  const heard = client.heardAt();
  return heard === null ? state.t('link.lost.never') : state.t('link.lost', { time: state.f.clock(client.serverNow() - client.silentMs()) });
};

function skip(event: Event): void {
  event.preventDefault();
  document.getElementById('content')?.focus();
}

function bar(): TemplateResult {
  const { t, route, me, instance, lang } = state;
  const phase = client.phase();
  const waiting = [...store.alarms.values()].filter(({ state: s }) => s !== 'ACKED').length;
  return html`<header class="top">
    <a class="skip" href="#content" @click=${skip}>${t('console.skip')}</a>
    <h1>${t('console.title')}</h1>
    ${instance?.simulated ? html`<span class="tag" data-testid="simulated">${t('simulated')}</span>` : nothing}
    <nav aria-label=${t('console.nav')}>
      ${PAGES.map((name) => html`<a href="#/${name}" aria-current=${route.page === name ? 'page' : 'false'}>${t(`console.${name}`)}${name === 'alarms' && waiting ? html` <span class="count">${waiting}</span>` : nothing}</a>`)}
      <a class="wide" href="/wall" target="_blank" rel="noopener">${t('console.wall')}</a>
    </nav>
    <span class="link ${phase}" data-testid="link-state" data-link=${phase}><i></i><span>${phase === 'live' ? t('link.live') : phase === 'slow' ? t('link.slow') : t('wall.link.lost', { age: state.f.age(client.silentMs()) })}</span></span>
    <span class="me">${me?.name || me?.user || ''}${me?.role === 'viewer' ? html` <small>(${t('console.viewer')})</small>` : nothing}</span>
    <button type="button" class="plain" lang=${lang === 'vi' ? 'en' : 'vi'} data-testid="language" @click=${language}>${t('console.language')}</button>
    <button type="button" class="plain wide" aria-label=${t('keys.open')} @click=${() => toggleHelp(true)}>?</button>
    <button type="button" class="plain" @click=${() => void leave()}>${t('console.logout')}</button>
  </header>`;
}

function help(): TemplateResult {
  const { t } = state;
  const keys = [['j  k', 'keys.jk'], ['a', 'keys.a'], ['Ctrl Enter', 'keys.enter'], ['/', 'keys.slash'], ['m', 'keys.m'], ['Esc', 'keys.escape'], ['?', 'keys.help']] as const;
  return html`<div class="veil" @click=${() => toggleHelp(false)}>
    <div class="help" role="dialog" aria-modal="true" aria-label=${t('keys.title')} data-testid="help" @click=${(e: Event) => e.stopPropagation()}>
      <h2>${t('keys.title')}</h2>
      <dl>${keys.map(([key, name]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${t(name)}</dd></div>`)}</dl>
      <button type="button" class="primary" @click=${() => toggleHelp(false)}>${t('keys.close')}</button>
    </div>
  </div>`;
}

function toggleHelp(open: boolean): void {
  helping = open;
  draw();
  if (open) document.querySelector<HTMLElement>('.help button')?.focus();
}

function step(by: number): void {
  const { order } = list;
  if (!order.length) return;
  const at = state.route.id ? order.indexOf(state.route.id) : by > 0 ? -1 : order.length;
  const next = order[Math.min(order.length - 1, Math.max(0, at + by))];
  if (next) location.hash = `#/alarms/${next}`;
}

function key(event: KeyboardEvent): void {
  if (state.login || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target as HTMLElement;
  if (event.key === 'Escape') {
    if (helping) toggleHelp(false);
    else if (target.matches('input, textarea, select')) target.blur();
    else if (state.route.id) location.hash = '#/alarms';
    return;
  }
  if (target.matches('input, textarea, select')) return;
  const focus = (selector: string) => document.querySelector<HTMLElement>(selector)?.focus();
  const meanings: Record<string, () => void> = {
    j: () => step(1),
    k: () => step(-1),
    a: () => focus('textarea[name=note]'),
    '/': () => focus('input[name=query]'),
    '?': () => toggleHelp(!helping),
  };
  const meaning = meanings[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!meaning) return;
  event.preventDefault();
  meaning();
}

document.documentElement.lang = state.lang;
addEventListener('hashchange', follow);
addEventListener('keydown', key);
addEventListener('online', () => client.hurry());
setInterval(() => {
  draw();
  sound.tick(store.alarms.values(), Date.now());
  if (state.route.page === 'quarantine' && !state.login && state.now - quarantineAt > QUARANTINE_MS) void loadQuarantine();
}, TICK_MS);
if (new URLSearchParams(location.search).get('sound') === '1') sound.start(draw);
follow();
void begin();
