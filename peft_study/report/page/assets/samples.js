// The samples of a cell, from a file beside the page. A page from a folder may not fetch files, but it may run scripts.
// So each file calls `peftStudySamples` with the number of its cell and its samples, as base64 of gzipped JSON.

class SampleFiles {
  constructor(explorer) {
    this.explorer = explorer;
    this.asked = new Map();
    this.waiting = new Map();
    window.peftStudySamples = (row, packed) => this.waiting.get(row)?.(packed);
    // In browsers with Trusted Types, this policy is the only way to set the address of a script.
    this.policy = window.trustedTypes?.createPolicy("side-files", {
      createScriptURL: (path) => {
        if (!/^explorer\/[0-9]+\.js$/.test(path)) throw new TypeError(`a file of samples must be explorer/NUMBER.js, got ${path}`);
        return path;
      },
    });
  }

  /** Load the samples of a row: a promise of them. */
  of(row) {
    const key = String(row);
    if (!this.asked.has(key)) {
      const asked = this.load(key);
      this.asked.set(key, asked);
      asked.catch(() => this.asked.delete(key));
    }
    return this.asked.get(key);
  }

  load(key) {
    return new Promise((resolve, reject) => {
      const path = `explorer/${key}.js`;
      const script = document.createElement("script");
      this.waiting.set(key, (packed) => unpacked(packed).then(resolve, reject));
      script.onerror = () => reject(new Error(`${path} is not beside this page: copy the whole folder of the report`));
      script.onload = () => { script.remove(); this.waiting.delete(key); };
      script.src = this.policy ? this.policy.createScriptURL(path) : path;
      document.head.append(script);
    });
  }
}

async function unpacked(packed) {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}
