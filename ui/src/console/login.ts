// The login form. Everything else stays as it was behind it.
import { html, nothing, type TemplateResult } from 'lit';
import type { Console } from './state.ts';

export function login(state: Console, submit: (user: string, password: string) => void, language: () => void): TemplateResult {
  const { t, login: form } = state;
  const send = (event: Event) => {
    event.preventDefault();
    const data = new FormData(event.target as HTMLFormElement);
    submit(String(data.get('user')), String(data.get('password')));
  };
  return html`<main class="login">
    <form @submit=${send} data-testid="login">
      <h1>${t('login.title')}</h1>
      ${form?.expired ? html`<p class="message" role="status">${t('login.expired')}</p>` : nothing}
      <label><span>${t('login.user')}</span><input name="user" autocomplete="username" autocapitalize="none" spellcheck="false" required .value=${state.me?.user ?? ''} /></label>
      <label><span>${t('login.password')}</span><input name="password" type="password" autocomplete="current-password" required /></label>
      <p class="message bad" role="alert" data-testid="login-error">${form?.error ?? ''}</p>
      <button type="submit" class="primary" ?disabled=${form?.busy ?? false}>${form?.busy ? t('login.busy') : t('login.submit')}</button>
      <button type="button" class="plain" lang=${state.lang === 'vi' ? 'en' : 'vi'} @click=${language}>${t('console.language')}</button>
    </form>
  </main>`;
}
