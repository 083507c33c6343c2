// Sentences that a model can do something with, and what to know of it.
const SMALL = {
  note: "This is the small model of the book. It learned from a grammar with a small vocabulary and knows no other words: feed it something else and watch it guess.",
  sentences: [
    "The small dogs do not see the black cat.",
    "Two women read a book near the river.",
    "Her young sister will wait for some sad teachers tomorrow.",
    "We do not drink their hot tea in this interesting village.",
  ],
  french: "Un homme roule sur un vélo rouge.",
};
const LARGE = {
  note: "The model learned from captions of pictures and from everyday sentences.",
  sentences: [
    "Where is the station?",
    "Two dogs are playing in the snow.",
    "I don't know him.",
    "She has been living here for ten years.",
  ],
  french: "Un homme roule sur un vélo rouge.",
};

export const examplesOf = (model) => (model.startsWith("grammar") ? SMALL : LARGE);
