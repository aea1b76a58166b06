-- Questions to the scans themselves. A closed question is answered with a probability for each answer, an open one with a text;
-- neither is passed on unchecked: what a model reads stands beside what OCR found and what was booked. Of a document the first page is asked.
CREATE OR REPLACE VIEW first_pages AS
SELECT invoice, booked, CASE WHEN scan LIKE '%.pdf' THEN scan || '#page=1' ELSE scan END AS scan FROM ledger;

SELECT invoice, booked, paid.label AS stamped_as_paid, round(paid.score, 2) AS score, supplier
FROM (SELECT invoice, booked,
             mm_classify('looker', 'Does this invoice carry a stamp that it is paid? Answer yes or no.', scan, ['yes', 'no']) AS paid,
             mm_generate('looker', 'Who sent this invoice? Answer with the name only.', scan, {max_tokens: 12}) AS supplier
      FROM first_pages)
ORDER BY invoice;

-- What an answer must look like can be prescribed; anything else is never written.
SELECT invoice, mm_generate('looker', 'What does the invoice say?', scan, {max_tokens: 120, json_schema: {
    type: 'object', additionalProperties: false, required: ['currency', 'is_credit_note'],
    properties: {currency: {enum: ['EUR', 'USD', 'GBP', 'other']}, is_credit_note: {type: 'boolean'}}}}) AS facts
FROM first_pages ORDER BY invoice;
