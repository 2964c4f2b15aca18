// Every wait ends: with what was waited for, or with a plain sentence that says what did not come.
import { setTimeout as pause } from 'node:timers/promises';

export const DEADLINE_MS = 60_000;

// Between two looks; a look is a call of the client, so it is never busy.
const POLL_MS = 25;

export class Late extends Error {}

export async function within(what, promise, deadline_ms = DEADLINE_MS) {
  const late = new AbortController();
  const timer = pause(deadline_ms, undefined, { signal: late.signal }).then(
    () => {
      throw new Late(`${what}: not within ${deadline_ms / 1000} s`);
    },
    () => {},
  );
  try {
    return await Promise.race([promise, timer]);
  } finally {
    late.abort();
  }
}

// Looks until it sees something truthy, and returns that.
export async function until(what, look, { deadline_ms = DEADLINE_MS, poll_ms = POLL_MS } = {}) {
  let over = false;
  const looking = async () => {
    while (!over) {
      const seen = await look();
      if (seen) return seen;
      await pause(poll_ms);
    }
  };
  try {
    return await within(what, looking(), deadline_ms);
  } finally {
    over = true;
  }
}

// Runs `each` over the items, `width` at a time, and returns the results in order.
export async function across(items, width, each) {
  const results = new Array(items.length);
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const index = next++;
      results[index] = await each(items[index], index);
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
  return results;
}
