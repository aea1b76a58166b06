-- Two scanned invoices and what was booked for them. What OCR reads is never passed on unchecked: sums must add up first.
CREATE OR REPLACE VIEW invoice_amounts AS
SELECT invoice, booked, line['page'] AS page, line['text'] AS text, line['score'] AS score, line['box'][1]['y'] AS y,
       mm_amount(regexp_match(line['text'], '[(-]?[0-9][0-9.,'' ]*[.,][0-9]{2}$')[1]) AS amount
FROM (SELECT invoice, booked, unnest(mm_ocr('ocr', scan)) AS line FROM ledger);

SELECT invoice, page, text, amount, round(score, 2) AS score FROM invoice_amounts WHERE amount IS NOT NULL ORDER BY invoice, page, y;

-- The last amount is the total: do the others add up to it, and was it booked? An invoice that cannot be read is not passed over.
SELECT ledger.invoice, items, total, items = total AS adds_up, ledger.booked, total = ledger.booked AS as_booked,
       CASE WHEN total IS NULL OR items <> total THEN 'read again by a person'
            WHEN total = ledger.booked THEN 'fine' ELSE 'booked wrongly' END AS finding
FROM ledger LEFT JOIN (
  SELECT invoice, sum(amount) - max(total) AS items, max(total) AS total
  FROM (SELECT invoice, amount, last_value(amount) OVER (PARTITION BY invoice ORDER BY page, y ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS total
        FROM invoice_amounts WHERE amount IS NOT NULL)
  GROUP BY invoice) AS sums ON sums.invoice = ledger.invoice
ORDER BY ledger.invoice;
