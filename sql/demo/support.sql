-- Five recordings from a speech corpus; that they are calls of customers is synthetic.
-- How long somebody speaks, what is said, and which of three matters it is closest to in meaning.
SELECT call_id, customer, round(speech.seconds, 1) AS seconds, transcript,
       matter.label AS matter, round(matter.score, 2) AS score
FROM (SELECT *, mm_classify('matters', transcript, ['instructions to move somewhere', 'a request to do something', 'talk about the character of a person']) AS matter
      FROM (SELECT call_id, customer, mm_predict('vad', recording) AS speech, mm_transcribe('whisper', recording).text AS transcript FROM calls))
ORDER BY call_id;

-- Escalation: whoever speaks of a person, the surest first. Silence is never transcribed: the guard spares the speech model.
SELECT customer, transcript
FROM (SELECT customer, CASE WHEN mm_predict('vad', recording).seconds > 0.5 THEN mm_transcribe('whisper', recording).text END AS transcript FROM calls)
WHERE mm_similarity(mm_embed('minilm', transcript), mm_embed('minilm', 'complaint about the character of a man')) > 0.2
ORDER BY customer;
