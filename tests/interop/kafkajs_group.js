// A group of two kafkajs consumers that share a topic and rebalance when one leaves.
const { Kafka, logLevel } = require('kafkajs')

const PATIENCE = 60000
const kafka = new Kafka({ clientId: 'interop', brokers: [process.argv[2]], logLevel: logLevel.ERROR })

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

async function eventually(what, condition) {
  const deadline = Date.now() + PATIENCE
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('not in time: ' + what)
    await sleep(50)
  }
}

async function member() {
  const consumer = kafka.consumer({ groupId: 'sharers', sessionTimeout: 6000, heartbeatInterval: 500 })
  const state = { consumer, assigned: 0, values: [] }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    state.assigned = (payload.memberAssignment.shared || []).length
  })
  await consumer.connect()
  await consumer.subscribe({ topics: ['shared'], fromBeginning: true })
  await consumer.run({ eachMessage: async ({ message }) => { state.values.push(Number(message.value)) } })
  return state
}

const numbers = (from, to) => Array.from({ length: to - from }, (_, i) => from + i)

async function main() {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: 'shared', numPartitions: 4, replicationFactor: 1 }], waitForLeaders: true })
  const producer = kafka.producer({ allowAutoTopicCreation: false, idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  const produce = (values) =>
    producer.send({ topic: 'shared', messages: values.map((n) => ({ value: String(n), partition: n % 4 })) })

  const first = await member()
  await eventually('the first has all', () => first.assigned === 4)
  const second = await member()
  await eventually('they share', () => first.assigned === 2 && second.assigned === 2)
  await produce(numbers(0, 100))
  await eventually('all is read', () => first.values.length + second.values.length === 100)
  if (!first.values.length || !second.values.length) throw new Error('one read everything')
  await first.consumer.disconnect()
  await eventually('the second has all', () => second.assigned === 4)
  await produce(numbers(100, 140))
  const read = () => [...new Set([...first.values, ...second.values])].sort((a, b) => a - b)
  await eventually('all is read', () => read().length === 140)
  if (JSON.stringify(read()) !== JSON.stringify(numbers(0, 140))) throw new Error('other records')
  const offsets = await admin.fetchTopicOffsets('shared')
  if (offsets.some(({ offset, low }) => offset !== '35' || low !== '0')) throw new Error(JSON.stringify(offsets))
  await second.consumer.disconnect()
  await producer.disconnect()
  await admin.disconnect()
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1) })
