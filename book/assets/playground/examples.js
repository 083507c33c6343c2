// Sentences that the model can do something with, and what to know of it.
export const EXAMPLES = {
  note: "The model has read captions of pictures and short everyday sentences: feed it something else and watch it guess.",
  sentences: [
    "Where is the station?",
    "Two dogs are playing in the snow.",
    "I don't know him.",
    "A young girl in a red dress rides a small white horse.",
  ],
  french: "Un homme roule sur un vélo rouge.",
};
