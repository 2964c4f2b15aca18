// An Ethereum key made of the run's seed and a name, and the signer that the client asks for.
import { createHash } from 'node:crypto';

import { IdentifierKind } from '@xmtp/node-sdk';
import { hexToBytes } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

export class Wallet {
  #account;

  constructor(seed, name) {
    this.name = name;
    this.#account = privateKeyToAccount(`0x${createHash('sha256').update(`${seed} ${name}`).digest('hex')}`);
  }

  get address() {
    return this.#account.address.toLowerCase();
  }

  get identifier() {
    return { identifier: this.address, identifierKind: IdentifierKind.Ethereum };
  }

  get signer() {
    return {
      type: 'EOA',
      getIdentifier: () => this.identifier,
      signMessage: async (message) => hexToBytes(await this.#account.signMessage({ message })),
    };
  }
}
