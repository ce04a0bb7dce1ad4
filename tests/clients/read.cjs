// Reads one document in two syntaxes, each by the library for it, and prints both in canonical form (RDF Dataset Canonicalization, N-Quads).
"use strict";

const [packages, address] = process.argv.slice(2);
const needed = (name) => require(require.resolve(name, { paths: [packages] }));
const jsonld = needed("jsonld");
const { Parser, Writer } = needed("n3");

const canonical = (dataset, options) => jsonld.canonize(dataset, { algorithm: "URDNA2015", format: "application/n-quads", ...options });

const fromTurtle = async () => {
  const response = await fetch(address, { headers: { Accept: "text/turtle" } });
  const quads = new Parser({ baseIRI: response.url }).parse(await response.text());
  const lines = new Writer({ format: "N-Quads" }).quadsToString(quads);
  return { type: response.headers.get("content-type"), canonical: await canonical(lines, { inputFormat: "application/n-quads" }) };
};

// By its own loader, which follows the 303 and fetches the context that the document names.
const fromJsonLd = async () => ({ canonical: await canonical(address) });

(async () => console.log(JSON.stringify({ turtle: await fromTurtle(), jsonld: await fromJsonLd() })))();
