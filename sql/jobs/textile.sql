SELECT photo, defect AS put_in, mm_predict('textile', photo).label AS label, round(mm_predict('textile', photo).score, 6) AS score
FROM textiles
