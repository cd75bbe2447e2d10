// Asks the policy simulator. Standard input: a JSON array of questions
//   { policy, action, resource, context?, resourcePolicy? }
// Standard output: an array with `Allowed`, `ImplicitlyDenied`, `ExplicitlyDenied` or `error: …` for each.
import { runSimulation } from '@cloud-copilot/iam-simulate'

const ACCOUNT = '123456789012'

async function answer({ policy, action, resource, context, resourcePolicy }) {
  const result = await runSimulation(
    {
      request: {
        principal: `arn:aws:iam::${ACCOUNT}:role/somebody`,
        action,
        resource: { resource, accountId: ACCOUNT },
        contextVariables: context ?? {},
      },
      identityPolicies: [{ name: 'policy', policy }],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy,
    },
    {},
  )
  if (result.resultType === 'error') return `error: ${JSON.stringify(result.errors)}`
  // A context key that the simulator leaves out would make a condition mean nothing.
  const ignored = result.result?.ignoredContextKeys ?? []
  return ignored.length ? `error: ${action} has no ${ignored}` : result.overallResult
}

let questions = ''
for await (const piece of process.stdin) questions += piece
console.log(JSON.stringify(await Promise.all(JSON.parse(questions).map(answer))))
