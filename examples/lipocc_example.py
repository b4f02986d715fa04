"""Example of using LipOCC for outlier detection."""

from pyod.utils.data import evaluate_print, generate_data

from pyod_lipocc import LipOCC

if __name__ == "__main__":
    contamination = 0.1  # percentage of outliers
    n_train = 200  # number of training points
    n_test = 100  # number of testing points

    # Generate sample data
    X_train, X_test, y_train, y_test = generate_data(
        n_train=n_train,
        n_test=n_test,
        n_features=5,
        contamination=contamination,
        random_state=42,
    )

    # train LipOCC detector
    clf_name = "LipOCC"
    clf = LipOCC(contamination=contamination, random_state=42, verbose=1)
    clf.fit(X_train)

    # get the prediction labels and outlier scores of the training data
    y_train_pred = clf.labels_  # binary labels (0: inliers, 1: outliers)
    y_train_scores = clf.decision_scores_  # raw outlier scores

    # get the prediction on the test data
    y_test_pred = clf.predict(X_test)  # outlier labels (0 or 1)
    y_test_scores = clf.decision_function(X_test)  # outlier scores

    # evaluate and print the results
    print("\nOn Training Data:")
    evaluate_print(clf_name, y_train, y_train_scores)
    print("\nOn Test Data:")
    evaluate_print(clf_name, y_test, y_test_scores)

    # LipOCC's scores are distances, and change no faster than rows move
    print(
        "\nSigned distance of the first test rows to the support:", clf.signed_distance(X_test[:3])
    )
    print("A score changes by at most", clf.lipschitz_constant_, "per unit of X")
