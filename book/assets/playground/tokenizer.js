// Text to ids and back, as scratch.tokens does it, by the same library's sister for the browser.

// Two parts of the library differ from Python's: its Strip takes a byte-order mark for a space,
// and its added tokens are found in what a reader types, so that "<eos>" would end the sentence.
function asInPython(json) {
  const normalizers = json.normalizer.normalizers.map((part) =>
    part.type === "Strip" ? { type: "Replace", pattern: { Regex: "^ +| +$" }, content: "" } : part);
  return { ...json, added_tokens: [], normalizer: { ...json.normalizer, normalizers } };
}

const CONTRACTED = new Set(["t", "s", "m", "d", "re", "ve", "ll"]); // what follows the apostrophe in English

export class BookTokenizer {
  constructor(json, Library) {
    this.library = new Library(asInPython(json), {});
    this.names = Object.entries(json.model.vocab).reduce((all, [name, id]) => ((all[id] = name), all), []);
    this.special = new Set(json.added_tokens.map((token) => token.id));
    const [split] = json.pre_tokenizer.pretokenizers;
    this.word = new RegExp(split.pattern.Regex, "gu");
  }

  // The ids of a text, without <bos> and <eos>; none for a text of nothing but spaces.
  encode(text) {
    const written = text.replace(/\p{White_Space}+/gu, "");
    // half of a character's pair, which no keyboard types and no encoder takes
    return written ? this.library.encode(text.toWellFormed?.() ?? text, { add_special_tokens: false }).ids : [];
  }

  // The text of ids with the space that each word begins with; special tokens vanish.
  raw(ids) {
    const kept = ids.filter((id) => !this.special.has(id));
    return kept.length ? this.library.decode(kept, { clean_up_tokenization_spaces: false }) : "";
  }

  decode(ids) {
    return this.raw(ids).replace(/^ /, "");
  }

  // Each token by itself, a leading space included.
  pieces(ids) {
    return ids.map((id) => (this.special.has(id) ? this.names[id] : this.raw([id])));
  }

  // Positions grouped by the word they spell: [[0], [1, 2], ...], as scratch.alignment.words_of.
  words(ids) {
    const pieces = this.pieces(ids);
    const owner = this.owners(ids, pieces);
    const spelled = new Map();
    owner.forEach((word, i) => spelled.set(word, (spelled.get(word) ?? "") + pieces[i]));
    const groups = [];
    ids.forEach((_, i) => {
      // est-ce is one word here, and don't is, but l'homme is two
      const hyphen = i > 0 && (pieces[i] === "-" || pieces[i - 1] === "-");
      const contracted = i > 0 && pieces[i - 1].endsWith("'") && CONTRACTED.has(spelled.get(owner[i]));
      if (i > 0 && (owner[i] === owner[i - 1] || hyphen || contracted)) groups.at(-1).push(i);
      else groups.push([i]);
    });
    return groups;
  }

  // The number of the word in which each token begins; a token's name has one sign for each byte.
  owners(ids, pieces) {
    const bytes = (text) => new TextEncoder().encode(text).length;
    const text = this.raw(ids);
    if (bytes(text) !== ids.reduce((sum, id) => sum + this.names[id].length, 0)) {
      // bytes that spell nothing, as a model may write them: then a word is what a space begins
      let word = 0;
      return pieces.map((piece) => (piece.startsWith(" ") ? ++word : word));
    }
    const ends = [];
    for (const [word] of text.matchAll(this.word)) ends.push((ends.at(-1) ?? 0) + bytes(word));
    let place = 0;
    return ids.map((id) => {
      const word = ends.findIndex((end) => place < end);
      place += this.names[id].length;
      return word;
    });
  }
}
