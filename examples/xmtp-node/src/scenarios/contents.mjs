// The kinds of content that apps send: text, markdown, reaction, reply, read receipt, attachments.
import assert from 'node:assert/strict';

import {
  ReactionAction,
  ReactionSchema,
  encodeText,
  isAttachment,
  isMarkdown,
  isRemoteAttachment,
  isReply,
} from '@xmtp/node-sdk';

import { until } from '../deadline.mjs';

// Larger than a frame of HTTP/2 and a page of most stores.
const ATTACHMENT_BYTES = 300_000;

export async function run(network) {
  const eve = await network.open('eve');
  const fay = await network.open('fay');
  const dm = await eve.conversations.createDm(fay.inboxId);
  const text = await dm.sendText('to be answered');
  await fay.readsText(dm.id, 'to be answered');
  const back = await fay.find(dm.id);

  await back.sendReaction({
    reference: text,
    referenceInboxId: eve.inboxId,
    action: ReactionAction.Added,
    content: '👍',
    schema: ReactionSchema.Unicode,
  });
  const reacted = await eve.reads('the reaction', dm.id, (all) => all.some(({ id, reactions }) => id === text && reactions.length));
  const [reaction] = reacted.find(({ id }) => id === text).reactions;
  assert.equal(reaction.content.content, '👍', 'the reaction is another');
  assert.equal(reaction.senderInboxId, fay.inboxId, 'the reaction is from another');

  await back.sendReply({ content: encodeText('the answer'), reference: text, referenceInboxId: eve.inboxId });
  const replied = (await eve.reads('the reply', dm.id, (all) => all.some(isReply))).find(isReply);
  assert.equal(replied.content.content, 'the answer', 'the reply is another');
  assert.equal(replied.content.inReplyTo?.id, text, 'the reply answers another message');

  await back.sendReadReceipt();
  await until('eve reads the receipt', async () => {
    await dm.sync();
    return (await dm.lastReadTimes())[fay.inboxId];
  });

  await back.sendMarkdown('# A heading');
  await eve.reads('the markdown', dm.id, (all) => all.some((m) => isMarkdown(m) && m.content === '# A heading'));

  const content = Buffer.alloc(ATTACHMENT_BYTES, 'tidings');
  await back.sendAttachment({ filename: 'notes.txt', mimeType: 'text/plain', content });
  const attached = (await eve.reads('the attachment', dm.id, (all) => all.some(isAttachment))).find(isAttachment);
  assert.ok(content.equals(Buffer.from(attached.content.content)), 'the attachment is another');
  assert.equal(attached.content.filename, 'notes.txt', 'the attachment has another name');

  await back.sendRemoteAttachment({
    url: 'https://example.org/notes.txt',
    contentDigest: '00'.repeat(32),
    secret: new Uint8Array(32),
    salt: new Uint8Array(32),
    nonce: new Uint8Array(12),
    scheme: 'https',
    contentLength: 7,
    filename: 'notes.txt',
  });
  await eve.reads('the remote attachment', dm.id, (all) => all.some(isRemoteAttachment));
}
