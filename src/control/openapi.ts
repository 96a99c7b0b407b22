/** The OpenAPI 3.1 document, made from the route table. Loaded only when somebody asks for it. */
import { toJsonSchema } from '@valibot/to-json-schema';
import { HOLD_PATH, LINEAGE_HEADER, PARAMS, ROUTES, type Route, type Schema } from './routes.js';
import { failure } from './schema.js';
import { packageVersion } from './version.js';

type Json = Record<string, unknown>;

function jsonSchema(schema: Schema, typeMode: 'input' | 'output'): Json {
  const { $schema: _, ...rest } = toJsonSchema(schema as Parameters<typeof toJsonSchema>[0], {
    typeMode,
    // Transforms of query text into numbers have no counterpart; their input is what is sent.
    ignoreActions: ['transform', 'safe_integer'],
    errorMode: 'ignore',
  });
  return rest;
}

const json = (schema: Json) => ({ content: { 'application/json': { schema } } });

function parameters(route: { path: string; query?: Schema }): Json[] {
  const found: Json[] = [...route.path.matchAll(/:(\w+)/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    schema: jsonSchema(PARAMS[name as keyof typeof PARAMS], 'input'),
  }));
  if (route.query === undefined) return found;
  const { properties = {} } = jsonSchema(route.query, 'input') as { properties?: Json };
  const query = Object.entries(properties).map(([name, schema]) => ({ name, in: 'query', schema }));
  return [...found, ...query];
}

/** Of the routes that a name alone leads to, or names in the body. */
function meaning(route: Route): Json[] {
  if (!route.path.includes(':region') && route !== ROUTES.syncAll) return [];
  const description = 'lineages of the regions that are meant, in order, with commas between them';
  return [{ name: LINEAGE_HEADER, in: 'header', description, schema: { type: 'string' } }];
}

function operation(name: string, route: Route): Json {
  return {
    operationId: name,
    summary: route.summary,
    parameters: [...parameters(route), ...meaning(route)],
    ...(route.body && { requestBody: json(jsonSchema(route.body, 'input')) }),
    responses: {
      200: { description: 'done', ...json(jsonSchema(route.reply, 'output')) },
      default: { description: 'failed', ...json({ $ref: '#/components/schemas/Failure' }) },
    },
  };
}

function textOperation(name: string, options: { summary: string; path: string }): Json {
  const content = { 'text/plain': { schema: { type: 'string' } } };
  const responses = { 200: { description: 'done', content } };
  return {
    operationId: name,
    summary: options.summary,
    parameters: parameters(options),
    responses,
  };
}

const template = (path: string) => path.replace(/:(\w+)/g, '{$1}');

/** The whole document, as `GET /openapi.json` serves it. */
export function openApiDocument(): Json {
  const paths: Record<string, Json> = {};
  for (const [name, route] of Object.entries(ROUTES) as [string, Route][]) {
    const path = template(route.path);
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(name, route) };
  }
  const hold = 'A reply that stays open and keeps the session alive, a line now and then';
  paths[template(HOLD_PATH)] = {
    get: textOperation('holdSession', { summary: hold, path: HOLD_PATH }),
  };
  const metrics = 'Counters in the Prometheus text format';
  paths['/metrics'] = { get: textOperation('metrics', { summary: metrics, path: '/metrics' }) };
  return {
    openapi: '3.1.0',
    info: { title: 'Farpage control plane', version: packageVersion(), license: { name: 'MIT' } },
    paths,
    components: {
      schemas: { Failure: jsonSchema(failure, 'output') },
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
    },
    security: [{ token: [] }, {}],
  };
}
