-- Vibration of 40 looms, 64 readings each, and a picture of what each has woven. The readings are synthetic: four looms have
-- a worn bearing, which shakes them at a faster pace. That a loom wove a piece is synthetic too.
CREATE OR REPLACE VIEW looms AS
SELECT loom, photo, defect, array_agg(reading ORDER BY tick) AS readings
FROM (SELECT loom, tick, sin(tick * 0.4 + loom) + CASE WHEN loom % 10 = 7 THEN 1.5 * sin(tick * 2.3) ELSE 0.1 * sin(tick * 5.1 + loom) END AS reading
      FROM (SELECT value AS loom FROM generate_series(0, 39)) CROSS JOIN (SELECT value AS tick FROM generate_series(0, 63)))
JOIN (SELECT row_number() OVER (ORDER BY photo) - 1 AS number, photo, defect FROM textiles) ON number = loom * 50
GROUP BY loom, photo, defect;

-- Two kinds of anomaly in one ranking: how the machine shakes, and how far its piece lies from the mean of good ones.
SELECT loom, round(mm_predict('loom', readings), 2) AS worn, round(1 - mm_similarity(mm_embed('vision', photo), good), 3) AS looks_odd, defect AS put_in
FROM looms CROSS JOIN (SELECT mm_average(mm_embed('vision', photo)) AS good FROM textiles WHERE defect = 'nominal' AND photo LIKE '%00.%')
ORDER BY worn + looks_odd DESC LIMIT 8;
