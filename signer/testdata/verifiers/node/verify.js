// Verifies tokens with jsonwebtoken; see ../README.md.
'use strict';
const fs = require('fs');
const path = require('path');
const jwt = require(path.join(process.env.ZCHATPROXY_NODE_MODULES, 'jsonwebtoken'));

const secret = fs.readFileSync(process.argv[2]);
for (const line of fs.readFileSync(0, 'latin1').split('\n')) {
  if (line === '') continue;
  const token = Buffer.from(line, 'base64').toString('latin1');
  try {
    const claims = jwt.verify(token, secret, { algorithms: ['HS256'], maxAge: '10m' });
    if (typeof claims !== 'object') throw new Error('the payload is no object');
    console.log('accept ' + Buffer.from(JSON.stringify(claims)).toString('base64'));
  } catch (e) {
    console.log('reject ' + e.name + ': ' + e.message.replace(/\n/g, ' '));
  }
}
