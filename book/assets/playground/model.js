// The two graphs that `press export` writes, and what goes in and out of them.

// Who takes part: one number for each head of each layer, and one each for positions and mask.
export function everythingOn(config) {
  const heads = (layers) => Array.from({ length: layers }, () => new Array(config.n_heads).fill(1));
  return {
    encoder: heads(config.n_encoder_layers),
    decoder: heads(config.n_decoder_layers),
    cross: heads(config.n_decoder_layers),
    positions: 1,
    causal: 1,
  };
}

// Attention weights (layers, 1, heads, rows, columns), to be read one map at a time.
export class Maps {
  constructor(tensor) {
    [this.layers, , this.heads, this.rows, this.columns] = tensor.dims;
    this.data = tensor.data;
  }

  // One map as a list of rows; "mean" stands for all layers, or all heads.
  pick(layer, head) {
    const all = (n) => Array.from({ length: n }, (_, i) => i);
    const layers = layer === "mean" ? all(this.layers) : [layer];
    const heads = head === "mean" ? all(this.heads) : [head];
    const size = this.rows * this.columns;
    return all(this.rows).map((row) => all(this.columns).map((column) => {
      let sum = 0;
      for (const l of layers) for (const h of heads) sum += this.data[(l * this.heads + h) * size + row * this.columns + column];
      return sum / (layers.length * heads.length);
    }));
  }
}

export class Model {
  constructor(ort, encoder, decoder, config) {
    Object.assign(this, { ort, encoder, decoder, config });
    this.last = Promise.resolve(); // a session runs one thing at a time, so calls wait in line
  }

  static async create(ort, files, config) {
    const open = (name) => ort.InferenceSession.create(files[`${name}.onnx`], {
      executionProviders: ["wasm"],
      externalData: [{ path: "weights.bin", data: files["weights.bin"] }],
    });
    return new Model(ort, await open("encoder"), await open("decoder"), config);
  }

  run(session, inputs) {
    const done = this.last.then(() => session.run(inputs));
    this.last = done.catch(() => {}); // the one who asked hears of it; the next one may go on
    return done;
  }

  real(values, dims) {
    return new this.ort.Tensor("float32", Float32Array.from(values), dims);
  }

  whole(values, dims) {
    return new this.ort.Tensor("int32", Int32Array.from(values), dims);
  }

  gates(rows) {
    return this.real(rows.flat(), [rows.length, rows[0].length]);
  }

  // Reads the English ids, once for each translation.
  async read(ids, on) {
    const found = await this.run(this.encoder, {
      tokens: this.whole(ids, [1, ids.length]),
      positions: this.real([on.positions], []),
      heads: this.gates(on.encoder),
    });
    return { keys: found.cross_keys, values: found.cross_values, attention: new Maps(found.attention) };
  }

  // Reads `tokens`, one list for each row, after what is in `cache`; row b goes on from the cache's row from[b].
  async write(tokens, memory, on, cache = null, from = [0]) {
    const { n_decoder_layers: layers, n_heads: heads, d_model } = this.config;
    const empty = () => this.real([], [layers, 1, heads, 0, d_model / heads]);
    const found = await this.run(this.decoder, {
      tokens: this.whole(tokens.flat(), [tokens.length, tokens[0].length]),
      rows: this.whole(from, [from.length]),
      self_keys: cache?.keys ?? empty(),
      self_values: cache?.values ?? empty(),
      cross_keys: memory.keys,
      cross_values: memory.values,
      positions: this.real([on.positions], []),
      causal: this.real([on.causal], []),
      self_heads: this.gates(on.decoder),
      cross_heads: this.gates(on.cross),
    });
    return {
      logits: found.logits,
      cache: { keys: found.new_keys, values: found.new_values },
      self: found.self_attention,
      cross: found.cross_attention,
    };
  }
}
