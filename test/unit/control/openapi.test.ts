import { Validator } from '@seriousme/openapi-schema-validator';
import { expect, it } from 'vitest';
import { openApiDocument } from '../../../src/control/openapi.js';
import { ROUTES } from '../../../src/control/routes.js';

type Operations = Record<string, { operationId: string; requestBody?: unknown }>;

it('is a valid OpenAPI document that knows every route', async () => {
  const document = openApiDocument();
  const result = await new Validator().validate(structuredClone(document));
  expect(result.errors ?? []).toEqual([]);
  expect(result.valid).toBe(true);
  const operations = Object.values(document.paths as Record<string, Operations>).flatMap((path) =>
    Object.values(path),
  );
  const ids = operations.map(({ operationId }) => operationId);
  expect(ids.sort()).toEqual([...Object.keys(ROUTES), 'holdSession', 'metrics'].sort());
  const create = (document.paths as Record<string, Operations>)['/v1/regions']?.post;
  expect(JSON.stringify(create?.requestBody)).toContain('writeBehind');
});
