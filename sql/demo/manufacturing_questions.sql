-- A cheap model looks at all pieces, the one that writes only at those which it finds defective.
SELECT photo, found, mm_generate('looker', 'Describe the defect in this cloth in one sentence.', photo, {max_tokens: 24}) AS description,
       mm_classify('looker', 'Is the defect a hole, a stain or a loose thread?', photo, ['hole', 'stain', 'loose thread']).label AS kind
FROM (SELECT photo, mm_predict('textile', photo).label AS found FROM textiles WHERE photo LIKE '%11.%')
WHERE found <> 'nominal' ORDER BY photo LIMIT 5;
