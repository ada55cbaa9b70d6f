// A list that does not move under the cursor: while somebody is at it, rows keep their places and new ones wait. Pure.

export interface StillList {
  /** Ids in the order in which they are shown. */
  readonly order: readonly string[];
  /** How many would come if it moved. */
  readonly fresh: number;
  /** Whether rows would change places or leave if it moved. */
  readonly moved: boolean;
}

export function still(shown: readonly string[], wanted: readonly string[], held: boolean): StillList {
  if (!held) return { order: wanted, fresh: 0, moved: false };
  const known = new Set(shown);
  const fresh = wanted.filter((id) => !known.has(id)).length;
  const rest = wanted.filter((id) => known.has(id));
  return { order: shown, fresh, moved: rest.length !== shown.length || rest.some((id, i) => id !== shown[i]) };
}
