-- Four photographs; that they were posted is synthetic. A picture is named by words that its classifier never learned: the
-- mean of the names of its ten likeliest classes, weighted by their probability, lies close to the right words (ConSE,
-- Norouzi et al. 2014). With a CLIP model this is mm_classify('clip', photo, [..]).
CREATE OR REPLACE VIEW posts_in_words AS
SELECT post_id, photo, mm_average(mm_embed('minilm', name), weight) AS meaning
FROM (SELECT post_id, photo, split_part(class['key'], ' #', 1) AS name, class['value'] AS weight,
             row_number() OVER (PARTITION BY post_id ORDER BY class['value'] DESC) AS place
      FROM (SELECT post_id, photo, unnest(map_entries(mm_predict('vision', photo).probabilities)) AS class FROM posts))
WHERE place <= 10 GROUP BY post_id, photo;

-- Each post beside the terms that a coffee brand watches; the closest term of each.
SELECT post_id, photo, term, round(score, 3) AS score
FROM (SELECT *, row_number() OVER (PARTITION BY post_id ORDER BY score DESC) AS place
      FROM (SELECT post_id, photo, term, mm_similarity(meaning, mm_embed('minilm', term)) AS score
            FROM posts_in_words CROSS JOIN (VALUES ('a cup of coffee'), ('a cat'), ('a spacecraft'), ('a brick wall')) AS terms(term)))
WHERE place = 1 ORDER BY post_id;
