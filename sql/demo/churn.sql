-- Eight customers, what they bought each month, and their reviews: all synthetic.
CREATE OR REPLACE VIEW customers AS
SELECT customer, purchases, review FROM (VALUES
  (1, [9, 8, 9, 10, 9, 11], 'Fast delivery and the quality is great, as always.'),
  (2, [7, 6, 5, 3, 1, 0], 'The support never answered, I will look for another shop.'),
  (3, [4, 5, 4, 4, 5, 4], 'Does what it should.'),
  (4, [8, 7, 4, 2, 1, 1], 'It broke after a week and nobody would take it back.'),
  (5, [2, 3, 4, 6, 7, 9], 'My new favourite, I recommended it to friends.'),
  (6, [6, 6, 5, 6, 5, 6], 'Arrived late and the box was damaged.'),
  (7, [5, 4, 3, 2, 1, 0], 'I am done with this, cancelled my subscription.'),
  (8, [1, 2, 1, 2, 1, 2], 'Good value.')) AS t(customer, purchases, review);

-- The trend of purchases and the tone of the review, fused into one score; both parts stay visible.
SELECT customer, round(trend, 2) AS trend, round(tone, 2) AS tone, round(0.5 * greatest(-trend, 0) + 0.5 * tone, 2) AS risk, review
FROM (SELECT customer, review,
             (purchases[4] + purchases[5] + purchases[6] - purchases[1] - purchases[2] - purchases[3])
               / CAST(array_sum(purchases) AS DOUBLE) AS trend,
             mm_classify('matters', review, ['a happy customer', 'an angry customer who will leave']).probabilities['an angry customer who will leave'] AS tone
      FROM customers)
ORDER BY risk DESC;
