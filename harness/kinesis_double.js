// Loaded before a double of Kinesis (node -r): it listens on loopback alone, on a free port, and its time can be moved.
'use strict'
const net = require('net')
const readline = require('readline')

const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (...given) {
  const then = given.filter(one => typeof one === 'function')
  const wanted = typeof given[0] === 'object' ? given[0].port : given[0]
  this.once('listening', () => console.log(JSON.stringify({[`port_${wanted}`]: this.address().port})))
  return listen.call(this, {host: '127.0.0.1', port: 0}, ...then)
}

const RealDate = Date
let ahead = 0
global.Date = class extends RealDate {
  constructor(...given) {
    if (given.length) super(...given)
    else super(RealDate.now() + ahead)
  }

  static now() {
    return RealDate.now() + ahead
  }
}

// Each line moves the time: milliseconds from the real one. The double ends with the process that started it.
const lines = readline.createInterface({input: process.stdin})
lines.on('line', line => {
  ahead = Number(line)
  console.log(JSON.stringify({ahead}))
})
lines.on('close', () => process.exit())
