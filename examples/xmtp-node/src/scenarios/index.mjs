// In the order they run: what later ones rest on first, and the one that may kill a process last.
import * as consent from './consent.mjs';
import * as contents from './contents.mjs';
import * as disappearing from './disappearing.mjs';
import * as dm from './dm.mjs';
import * as group from './group.mjs';
import * as installations from './installations.mjs';
import * as members from './members.mjs';
import * as messages from './messages.mjs';
import * as metadata from './metadata.mjs';
import * as permissions from './permissions.mjs';
import * as preferences from './preferences.mjs';
import * as race from './race.mjs';
import * as refusals from './refusals.mjs';
import * as register from './register.mjs';
import * as streams from './streams.mjs';
import * as visibility from './visibility.mjs';
import * as wallets from './wallets.mjs';

export const scenarios = Object.entries({
  refusals,
  register,
  visibility,
  dm,
  contents,
  streams,
  group,
  members,
  metadata,
  permissions,
  consent,
  disappearing,
  race,
  installations,
  wallets,
  preferences,
  messages,
}).map(([name, { run }]) => ({ name, run }));
