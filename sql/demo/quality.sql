-- Pictures of 200 textiles and what an inspector wrote down about them. The reports are synthetic: this view writes them from
-- what the simulation put in, and every tenth of them is wrong.
CREATE OR REPLACE VIEW inspections AS
SELECT photo, defect,
       CASE WHEN number % 10 = 0 THEN 'No fault found, the cloth is even.'
            WHEN defect = 'nominal' THEN 'The weave is regular, nothing to report.'
            WHEN defect = 'global' THEN 'The whole pattern is out of shape.'
            ELSE 'There is a small spot where threads are broken.' END AS report
FROM (SELECT photo, defect, row_number() OVER (ORDER BY photo) AS number FROM textiles)
WHERE number % 10 < 2 AND defect <> 'nominal' ORDER BY photo LIMIT 200;

-- Where picture and report disagree: the picture shows a defect and the report speaks of none. Texts and pictures are told apart
-- first, so that three reports are embedded and not two hundred.
SELECT prediction.label AS picture_shows, report, count(*) AS pieces, round(avg(prediction.score), 2) AS mean_score
FROM (SELECT report, mm_predict('textile', photo) AS prediction,
             mm_similarity(mm_embed('minilm', report), mm_embed('minilm', 'the cloth is fine, no fault'))
               > mm_similarity(mm_embed('minilm', report), mm_embed('minilm', 'the cloth has a defect, it is damaged')) AS says_fine
      FROM inspections)
WHERE prediction.label <> 'nominal' AND says_fine
GROUP BY picture_shows, report ORDER BY pieces DESC;
