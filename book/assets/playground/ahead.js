// The panel where the model reads a French sentence that it did not write, and may look into the future.
import { AttentionView } from "./attention.js";
import { percent } from "./dom.js";
import { Overtaken } from "./errors.js";
import { futureKind, futureTable, onTheFuture, readBothWays } from "./future.js";
import { Maps } from "./model.js";

export class Ahead {
  // `field` for the sentence, `mask` its check box, `table` and `maps` for what is found.
  constructor({ field, mask, table, maps }) {
    Object.assign(this, { field, mask, table, maps });
    this.attention = new AttentionView(maps);
    this.filled = ""; // what the field was last given
    this.turn = 0; // which reading is the newest
    this.belongs(null);
  }

  // Fills the field, unless the reader has written there.
  fill(text) {
    if (this.field.value === this.filled) this.field.value = text;
    this.filled = text;
  }

  // What is shown belongs to one English sentence and one setting of the switches, here in a word.
  belongs(to) {
    for (const box of [this.table, this.maps]) box.hidden = this.of !== to;
  }

  // Returns what there is to say of it; `now` tells what it is to belong to, before and after.
  async read(loaded, { source, given, on }, now) {
    const [turn, of] = [++this.turn, now()];
    const passes = await readBothWays(loaded, source, given, on);
    if (turn !== this.turn) throw new Overtaken();
    const mask = this.mask.checked ? "on" : "off";
    const maps = new Maps((this.mask.checked ? passes.masked : passes.open).self);
    this.table.replaceChildren(futureTable(loaded, given, passes, maps, mask));
    this.of = of;
    this.belongs(now());
    this.attention.show(futureKind(loaded, given, maps));
    return `With the mask ${mask}, up to ${percent(Math.max(...onTheFuture(maps)))} of a position's weight lies on the future.`;
  }
}
