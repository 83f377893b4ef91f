namespace PostCopy.HandOff;

/// <summary>The records of a session and what stands in them (<see cref="WriteOnceRecord"/>). <c>Criu/hook.sh</c> knows them too.</summary>
internal static class HandOffWords
{
    internal const string DecisionName = "decision";
    internal const string ReturnedName = "returned";

    internal const string HandedOff = "handed-off";
    internal const string Cancelled = "cancelled";
    internal const string MayRun = "may-run";
    internal const string NeverRan = "never-ran";
}
