-- title: The reference's lead under each smaller budget
-- mirrors: no counterpart (the paper gives each method its own number of iterations)
-- caption: For each token limit of the anytime curve from 1,000 tokens on: success of the method and of the reference (or its variant that saw the same feedback) on the same problems over all tasks, and the reference's minus the method's with a 95 % interval by the spread between problems. "Permutation p" flips the signs of whole problems; "Holm p" corrects it for the limits of one method.
SELECT title AS method, against AS "compared with", most AS "token limit", n, success, reference_success AS "reference's success",
       lead, p AS "permutation p", holm AS "Holm p"
FROM leads ORDER BY position, step
