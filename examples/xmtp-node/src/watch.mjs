// Everything a stream of the client has given so far, and waiting for what it has not.
import { within } from './deadline.mjs';

export class Watch {
  #waiting = new Set();
  #stream;

  // `open` takes the stream's options and returns the stream.
  static async over(what, open) {
    const watch = new Watch();
    watch.what = what;
    watch.seen = [];
    watch.errors = [];
    watch.#stream = await within(
      `${what} opens`,
      open({
        onValue: (value) => watch.#take(value),
        onError: (error) => watch.errors.push(error),
      }),
    );
    return watch;
  }

  #take(value) {
    this.seen.push(value);
    for (const look of this.#waiting) look();
  }

  // The first value that fits, past or future.
  async next(what, fits) {
    return this.#when(`${this.what} gives ${what}`, () => this.seen.find(fits));
  }

  async count(what, count, fits = () => true) {
    return this.#when(`${this.what} gives ${count} ${what}`, () => {
      const fitting = this.seen.filter(fits);
      return fitting.length >= count && fitting;
    });
  }

  async #when(what, look) {
    let settle;
    const found = new Promise((resolve) => {
      settle = () => {
        const seen = look();
        if (seen) resolve(seen);
      };
    });
    this.#waiting.add(settle);
    settle();
    try {
      return await within(what, found);
    } catch (error) {
      const errors = this.errors.map(String).join('; ') || 'none';
      throw new Error(`${error.message}; ${this.seen.length} values came in all, errors: ${errors}`, { cause: error });
    } finally {
      this.#waiting.delete(settle);
    }
  }

  async end() {
    await within(`${this.what} ends`, this.#stream.end());
  }
}
