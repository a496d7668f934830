// Drives the broker with MQTT.js: every QoS, wildcards, 3.1, 3.1.1 and 5.0.
// Usage: node mqttjs_client.mjs MQTT_JS_MODULE PORT VERSION [CA_FILE TLS_VERSION]
// (VERSION: 3, 4 or 5; TLS_VERSION: 1.2 or 1.3)
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const [modulePath, port, versionText, caFile, tlsVersion] = process.argv.slice(2)
const { default: mqtt } = await import(pathToFileURL(modulePath))
const version = Number(versionText)
const prefix = `mqttjs/${version}`
const count = 50

const tls = caFile && {
  ca: readFileSync(caFile),
  minVersion: `TLSv${tlsVersion}`,
  maxVersion: `TLSv${tlsVersion}`
}
const connect = (clientId) =>
  mqtt.connectAsync(`${tls ? 'mqtts' : 'mqtt'}://127.0.0.1:${port}`, {
    ...tls,
    clientId,
    protocolVersion: version,
    protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
    connectTimeout: 30_000,
    reconnectPeriod: 0,
    properties: version === 5 ? { topicAliasMaximum: 10, receiveMaximum: 5 } : undefined
  })

const timer = setTimeout(() => {
  console.error('not finished in time')
  process.exit(1)
}, 50_000)

const subscriber = await connect(`mqttjs-sub-${version}`)
const received = []
const complete = new Promise((resolve) => {
  subscriber.on('message', (topic, payload, packet) => {
    received.push({ topic, text: payload.toString(), packet })
    if (received.length === 3 * count) resolve()
  })
})
const granted = await subscriber.subscribeAsync(`${prefix}/+/data/#`, { qos: 2 })
assert.equal(granted[0].qos, 2)

const publisher = await connect(`mqttjs-pub-${version}`)
const publish = (qos, number) => {
  const properties = version === 5 ? { userProperties: { unit: ['kelvin', 'again'] } } : undefined
  return publisher.publishAsync(`${prefix}/${qos}/data/${number % 5}`, `${number}`, { qos, properties })
}
// MQTT.js 5.16 does not resolve the alias of a QoS 2 message: the ten aliases go to the others.
for (let number = 0; number < count; number++) for (const qos of [0, 1]) await publish(qos, number)
for (let number = 0; number < count; number++) await publish(2, number)
await complete
for (const qos of [0, 1, 2]) {
  const ofQos = received.filter((message) => message.topic.startsWith(`${prefix}/${qos}/`))
  assert.deepEqual(ofQos.map((message) => Number(message.text)), [...Array(count).keys()])
  for (const { packet } of ofQos) {
    assert.equal(packet.qos, qos)
    assert.equal(packet.retain, false)
    if (version === 5) assert.deepEqual([...packet.properties.userProperties.unit], ['kelvin', 'again'])
  }
}
await publisher.publishAsync(`${prefix}/kept`, 'value', { qos: 1, retain: true })
const late = await connect(`mqttjs-late-${version}`)
const kept = new Promise((resolve) => {
  late.on('message', (_topic, payload, packet) => {
    if (packet.retain && payload.toString() === 'value') resolve()
  })
})
await late.subscribeAsync(`${prefix}/kept`, { qos: 1 })
await kept
await Promise.all([subscriber, publisher, late].map((client) => client.endAsync()))
clearTimeout(timer)
