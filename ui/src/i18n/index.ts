// The words of the screens. The server sends data and names; everything else that people read is here.
import type { Lang, Words } from '../protocol.ts';
import en from './en.json' with { type: 'json' };
import vi from './vi.json' with { type: 'json' };

export type Key = keyof typeof vi;
const CATALOGUES: Record<Lang, Record<Key, string>> = { vi, en };

export type Translate = (key: Key, parameters?: Readonly<Record<string, string | number>>) => string;

export function translator(lang: Lang): Translate {
  const catalogue = CATALOGUES[lang];
  return (key, parameters) =>
    parameters ? catalogue[key].replace(/\{(\w+)\}/g, (_, name: string) => String(parameters[name] ?? '')) : catalogue[key];
}

/** A word that the server names, such as the kind of a step; itself if there is no translation. */
export function lookup(lang: Lang, group: string, word: string): string {
  return (CATALOGUES[lang] as Record<string, string>)[`${group}.${word}`] ?? word;
}

export const pick = (lang: Lang, words: Words | null | undefined): string => words?.[lang] ?? '';
