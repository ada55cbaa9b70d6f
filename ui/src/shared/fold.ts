// Search that asks for no diacritics: "muc nuoc" finds "Mực nước".

/** Lower case without marks. Unicode does not decompose đ, so it is mapped by name. */
export function fold(text: string): string {
  return text
    .normalize('NFD')
    .replace(/\p{M}/gu, '')
    .toLowerCase()
    .replaceAll('đ', 'd');
}

/** Whether every word of the query is somewhere in the text. */
export function matches(query: string, text: string): boolean {
  const folded = fold(text);
  return fold(query)
    .split(/\s+/)
    .every((word) => folded.includes(word));
}
