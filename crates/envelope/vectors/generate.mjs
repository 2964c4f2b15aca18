// Writes spec/vectors/{encoding,topics,envelopes,ordered}/*.json.
// It follows the documents in spec/ and shares no code with the crates.
import { writeEncoding } from "./encoding.mjs";
import { writeEnvelopes } from "./envelopes.mjs";
import { writeOrdered } from "./ordered.mjs";
import { writeTopics } from "./topics.mjs";

await writeEncoding();
writeTopics();
await writeEnvelopes();
await writeOrdered();
